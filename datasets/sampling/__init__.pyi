from .mixture import Mixture as Mixture
from .pairs import Pairs as Pairs
from .windows import Selection as Selection
from .windows import Windows as Windows
from .windows import require_channels as require_channels
