from .config import PRESETS as PRESETS
from .config import MultiscaleConfig as MultiscaleConfig
from .operator import MultiscaleTransformer as MultiscaleTransformer
