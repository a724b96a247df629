from .running import serve as serve
from .served import Limits as Limits
from .served import Served as Served
from .served import named as named
