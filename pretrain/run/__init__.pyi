from .jobs import held as held
from .records import EVALUATION_SCHEMA as EVALUATION_SCHEMA
from .records import PRETRAINED as PRETRAINED
from .records import PRETRAINING as PRETRAINING
from .records import SCRATCH as SCRATCH
from .records import Run as Run
from .records import read_runs as read_runs
from .stop import stop_signals as stop_signals
