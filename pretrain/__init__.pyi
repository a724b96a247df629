from .recipe import TrainRecipe as TrainRecipe
from .training import pretrain as pretrain
