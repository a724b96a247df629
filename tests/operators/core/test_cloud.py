"""The distance of a state from the training data, all features together."""

import math
from pathlib import Path

import pytest
import torch

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build, plain
from pelagos.datasets.fields.features import FEATURES, features
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.operators import Description, create
from pelagos.operators.core.cloud import Cloud, cloud_of
from pelagos.operators.core.description import description_from_dict, description_to_dict
from pelagos.operators.core.trained import Ranges
from pelagos.operators.core.verdict import TOGETHER, Start, judge_start
from pelagos.pretrain.trained import trained_ranges

EARLIER = Path(__file__).parents[2] / "earlier"


def rows(count=4000, seed=0, mixed=0.95):
    """Features of one channel, of which the second and third go together."""
    drawn = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)).double()
    drawn[:, 2] = mixed * drawn[:, 1] + math.sqrt(1 - mixed**2) * drawn[:, 2]
    drawn[:, 1] *= 0.3
    return drawn[:, None]


def test_it_is_mahalanobis_distance():
    found = cloud_of(rows(), ["u"])
    assert found.states == 4000
    assert found.reach == pytest.approx(5.0, abs=1.0)  # of 4000 in four dimensions
    along = torch.tensor([[[0.0, 0.3 * 2, 0.95 * 2, 0.0]]]).double()
    across = torch.tensor([[[0.0, 0.3 * 2, -0.95 * 2, 0.0]]]).double()
    assert found.distances(along, ["u"]).item() == pytest.approx(2.0, rel=0.1)
    expected = math.sqrt(4 + (2 * 0.95 + 2 * 0.95) ** 2 / (1 - 0.95**2))  # on uncorrelated axes
    assert found.distances(across, ["u"]).item() == pytest.approx(expected, rel=0.15)


def test_units_of_the_mean_do_not_matter():
    """A field in other units: means and deviations scale together."""
    given = rows()
    other = given.clone()
    other[..., 0] *= 1000
    other[..., 1] += 3
    one, two = cloud_of(given, ["u"]), cloud_of(other, ["u"])
    there = one.distances(given[:9], ["u"])
    torch.testing.assert_close(two.distances(other[:9], ["u"]), there, rtol=2e-2, atol=1e-3)


def test_channels_are_found_by_name():
    both = torch.cat((rows(), 3 + rows(seed=1)), 1)
    found = cloud_of(both, ["u", "v"])
    seen = both[:5]
    swapped = found.distances(seen.flip(1), ["v", "u"])
    torch.testing.assert_close(swapped, found.distances(seen, ["u", "v"]))
    assert found.distances(seen[:, :1], ["u"]) is None
    assert Cloud(("mean",), ("u",), (0.0,), ((1.0,),), 1.0, 9).distances(seen[:, :1], ["u"]) is None


def test_too_few_states_make_none():
    assert cloud_of(rows(15), ["u"]) is None
    assert cloud_of(rows(16), ["u"]) is not None


def test_a_combination_that_never_occurred_is_outside():
    """Large fields were smooth, small ones rough: a large rough one is within every range."""
    grid = Grid.unit((64,))
    x = torch.arange(64, dtype=torch.float64) / 64
    states = torch.stack([
        amplitude * (1 + 0.02 * k % 0.1) * torch.sin(2 * math.pi * (waves * x + k / 40))
        for k in range(40) for amplitude, waves in ((0.1, 8), (0.3, 4), (1.0, 2))
    ])[:, None]  # fmt: skip
    seen = features(states, grid)
    limits = {f: (seen[:, 0, k].min().item(), seen[:, 0, k].max().item())
              for k, f in enumerate(FEATURES)}  # fmt: skip
    ranges = Ranges({"u": limits}, grid=grid, cloud=cloud_of(seen, ["u"]))
    about = Description(("u",), grid=grid, time_steps=(0.1,), trained={"waves": ranges})
    operator = create("dymixop", description=about, ndim=1, hidden=4, layers=1, modes=3)

    def findings(amplitude, waves):
        state = amplitude * torch.sin(2 * math.pi * waves * x)
        start = Start(state[None, None, None], Context(("u",), grid, dataset="waves"))
        return {f.quantity: f.status for f in judge_start(operator, start).findings}

    assert findings(1.0, 2)[TOGETHER] == "inside"
    rough = findings(1.0, 8)
    assert rough[TOGETHER] == "outside"
    assert {rough[f"{name} of u"] for name in FEATURES} == {"inside"}
    again = description_from_dict(description_to_dict(about))
    assert again.trained["waves"].cloud == ranges.cloud


def test_checkpoints_of_before_have_none():
    ranges = build(Ranges, {"features": {"u": {"mean": (0.0, 1.0)}}})
    assert ranges.cloud is None
    assert build(Ranges, plain(ranges)) == ranges


def test_training_keeps_one_of_every_dataset():
    store = open_store(EARLIER / "datasets" / "burgers_1d", "train")
    cloud = trained_ranges([store], store.fields)["burgers_1d"].cloud
    assert cloud.states == 16  # four frames of four trajectories
    seen = features(store.read(0, 0, 1), store.grid)
    assert cloud.distances(seen, store.fields).item() <= cloud.reach * (1 + 1e-6)
