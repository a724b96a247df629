"""What a field is: describe, read, simulate.

Names are imported on first use: help is quick, and operators need no file library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
