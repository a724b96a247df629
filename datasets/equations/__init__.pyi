from .equation import Equation as Equation
from .equation import Problem as Problem
from .equation import frames as frames
from .registry import FAMILIES as FAMILIES
from .registry import get as get
from .registry import names as names
