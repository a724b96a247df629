from .operator import DyMixOp as DyMixOp
from .operator import DyMixOpConfig as DyMixOpConfig
