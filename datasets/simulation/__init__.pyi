from .endless import EndlessStore as EndlessStore
from .settings import COUNTS as COUNTS
from .settings import Settings as Settings
