from .grid import Grid as Grid
from .window import Context as Context
from .window import Window as Window
from .window import collate as collate
