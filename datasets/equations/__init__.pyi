from .equation import Equation as Equation
from .registry import FAMILIES as FAMILIES
from .registry import get as get
from .registry import names as names
