"""The multiscale operator transformer (scOT, the architecture of Poseidon)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
