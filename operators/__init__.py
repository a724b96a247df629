"""Maps between fields: define, step, roll out, save, load."""

from .assimilated import AssimilatedOperator, assimilate
from .checkpoint import from_pretrained
from .description import Description
from .dymixop import DyMixOp
from .ensemble import EnsembleGain
from .interface import Conditions, FieldAxis, Operator, State
from .measurement import Observation, Sensors
from .multiscale import MultiscaleTransformer
from .observer import Observer
from .registry import create, names
from .rollout import rollout

__all__ = [
    "AssimilatedOperator",
    "Conditions",
    "Description",
    "DyMixOp",
    "EnsembleGain",
    "FieldAxis",
    "MultiscaleTransformer",
    "Observation",
    "Observer",
    "Operator",
    "Sensors",
    "State",
    "assimilate",
    "create",
    "from_pretrained",
    "names",
    "rollout",
]
