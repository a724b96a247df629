from .evaluate import CONVENTIONS as CONVENTIONS
from .evaluate import VALID as VALID
from .evaluate import write_evaluation as write_evaluation
from .predict import TRUTH as TRUTH
from .predict import nonfinite as nonfinite
from .predict import write_prediction as write_prediction
from .request import Mode as Mode
from .request import Request as Request
