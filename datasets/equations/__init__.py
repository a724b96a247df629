"""The PDEs: what is solved, where, from what; one file per family."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
