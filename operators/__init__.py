"""Maps between fields: define, step, roll out, save, load."""

from .checkpoint import from_pretrained
from .description import Description
from .dymixop import DyMixOp
from .interface import Conditions, FieldAxis, Observation, Operator, State
from .multiscale import MultiscaleTransformer
from .registry import create, names
from .rollout import rollout

__all__ = [
    "Conditions",
    "Description",
    "DyMixOp",
    "FieldAxis",
    "MultiscaleTransformer",
    "Observation",
    "Operator",
    "State",
    "create",
    "from_pretrained",
    "names",
    "rollout",
]
