from .command import finetune as finetune
from .methods.base import Method as Method
from .methods.registry import METHODS as METHODS
from .recipe import FinetuneRecipe as FinetuneRecipe
