"""How much less data a checkpoint needs: studies of sample efficiency."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
