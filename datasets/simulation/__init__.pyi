from .endless import EndlessStore as EndlessStore
from .resolved import Simulation as Simulation
from .resolved import resolve as resolve
from .settings import COUNTS as COUNTS
from .settings import Settings as Settings
from .trajectories import Block as Block
from .trajectories import solve as solve
