"""A small operator of every name, and windows for it."""

import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Identity
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import Description, create, names

# The smallest config of every operator of ours. A new one adds a line; those of other packages are
# taken with their defaults.
SMALL = {
    "assimilated": {
        "predictor": {"name": "dymixop", "hidden": 6, "layers": 2, "modes": 3, "history": 2},
        "correction": {"modes": 3, "hidden": 4},
    },
    "dymixop": {"hidden": 6, "layers": 2, "modes": 3, "history": 2},
    "multiscale": {
        "width": 8,
        "depths": (2, 2),
        "heads": (2, 2),
        "skips": (1, 0),
        "patch": 2,
        "window": 2,
    },
    "observer": {
        "hidden": 6,
        "layers": 2,
        "modes": 3,
        "learn_linear": True,
        "correction": {"modes": 3, "hidden": 4},
    },
}
GRIDS = {1: (16,), 2: (8, 10), 3: (6, 6, 8)}
CASES = [(name, ndim) for name in names() for ndim in GRIDS]


def build(name, ndim, normalizer=None, fields=("u", "v"), **description):
    return create(
        name,
        description=Description(fields=fields, normalizer=normalizer or Identity(), **description),
        ndim=ndim,
        **SMALL.get(name, {}),
    )


def window_for(operator, horizon=3, batch=2, dt=0.5, seed=0):
    grid = Grid.unit(GRIDS[operator.ndim])
    generator = torch.Generator().manual_seed(seed)
    fields = operator.description.fields

    def random(frames):
        return torch.randn(batch, frames, len(fields), *grid.shape, generator=generator)

    lead = dt * torch.arange(1, horizon + 1).expand(batch, horizon)
    spacing = dt if operator.history > 1 else None
    return Window(
        random(operator.history), random(horizon), lead, Context(fields, grid, dt=spacing)
    )
