from .base import Objective as Objective
from .base import ObjectiveConfig as ObjectiveConfig
from .base import Phase as Phase
from .losses import loss_of as loss_of
from .losses import metric_sums as metric_sums
from .reference import reference_of as reference_of
from .registry import OBJECTIVES as OBJECTIVES
from .registry import objective_of as objective_of
