from .adapters import export_adapter as export_adapter
from .adapters import merge_adapter as merge_adapter
from .command import finetune as finetune
from .donor import donor_of as donor_of
from .methods.base import Method as Method
from .methods.registry import METHODS as METHODS
from .recipe import FinetuneRecipe as FinetuneRecipe
