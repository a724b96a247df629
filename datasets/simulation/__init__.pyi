from .endless import EndlessStore as EndlessStore
from .settings import Settings as Settings
