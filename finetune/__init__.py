"""Everything downstream of a checkpoint: adapt, predict, evaluate, report.

Names are imported on first use, so that help is quick.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
