"""Validation: dealt by trajectory, and the same for every number of processes."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pelagos.datasets.base.config import build
from pelagos.datasets.fields.normalization import Identity
from pelagos.datasets.fields.window import collate
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.stores.store import Store
from pelagos.operators import create
from pelagos.pretrain import TrainRecipe
from pelagos.pretrain.data import open_split
from pelagos.pretrain.held_out import held_out
from pelagos.pretrain.objectives.assimilation import AssimilationConfig, draw_feed
from pelagos.pretrain.validation import validate

SIZES = {  # trajectories and points
    "advection_1d": ({"train": 1, "valid": 5}, 40),
    "heat_1d": ({"train": 1, "valid": 3}, 80),
}


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """Of two datasets, and a count of what is read of them."""
    root = tmp_path_factory.mktemp("data")
    paths = [
        simulate(name, root, trajectories=counts, resolution=points, frames=6, dt=0.02)
        for name, (counts, points) in SIZES.items()
    ]
    values = {
        "data": [{"path": str(path)} for path in paths],
        "operator": {"name": "dymixop"},
        "validation": {"trajectories": 8, "horizon": 3},
    }
    recipe = build(TrainRecipe, values)
    operator = create("dymixop", fields=("u",), ndim=1, history=2, hidden=4, layers=1, modes=2)

    def make():
        stores = [open_split(recipe, data, "valid") for data in recipe.data]
        return held_out(recipe, stores, operator)

    return make


class Process(Accelerator):
    """One of several: what it adds to a sum is kept."""

    device, process_index, num_processes = torch.device("cpu"), 0, 1

    def __init__(self, rank, count):
        self.process_index, self.num_processes = rank, count

    def reduce(self, values, how):
        assert how == "sum"
        self.own = values
        return values


def sums(windows, processes, batch, seen=None):
    """What the processes add up to, and what each of them predicts: dataset, first and number."""
    total, asked = 0, []
    for rank in range(processes):
        process, mine, own = Process(rank, processes), [], windows()

        def predict(window, first, mine=mine):
            mine.append((window.dataset, first, len(window.history)))
            return 0.9 * window.target + 0.1 * window.history[:, -1:]

        validate(nn.Identity(), predict, own, batch, process, lambda: False)
        total, asked = total + process.own, [*asked, mine]
    return total, asked


def test_scores_are_the_same_for_every_number_of_processes(windows):
    alone, _ = sums(windows, 1, 4)
    for processes in (2, 3, 5, 11):
        assert torch.equal(sums(windows, processes, 4)[0], alone)


def test_trajectories_are_dealt_by_cost(windows):
    # Costs: five of 40 points, three of 80, over 3 frames: 11 parts, of which each process has 5½.
    _, asked = sums(windows, 2, 4)
    assert asked == [
        [("advection_1d", 0, 4), ("advection_1d", 4, 1)],
        [("heat_1d", 0, 3), ("advection_1d", 0, 1)],  # the last one so that both predict as often
    ]


def test_the_score_is_the_mean_of_the_formula(windows):
    found = validate(
        nn.Identity(), lambda w, _: torch.zeros_like(w.target), windows(), 4, Process(0, 1), bool
    )
    for name, of in windows().items():
        truth = torch.stack([window.target for window in map(of.__getitem__, of.numbers)]).double()
        centred = truth - truth.mean(-1, keepdim=True)
        vrmse = (truth.square().mean(-1) / centred.square().mean(-1)).sqrt().mean()
        assert found[name][0] == pytest.approx(vrmse.item(), rel=1e-4)


def test_a_process_reads_its_own_trajectories(windows, monkeypatch):
    read, window = [], Store.window
    monkeypatch.setattr(
        Store,
        "window",
        lambda self, i, *rest: read.append((self.name, i)) or window(self, i, *rest),
    )
    own = windows()
    for _ in range(2):  # what was read is kept
        validate(nn.Identity(), lambda w, _: w.target, own, 4, Process(1, 2), bool)
    assert sorted(read) == [("advection_1d", 0), *(("heat_1d", i) for i in range(3))]


def test_a_validation_that_is_stopped_has_no_scores(windows):
    answers = iter([False, True])
    model = nn.Identity()
    found = validate(
        model, lambda w, _: w.target, windows(), 4, Process(0, 1), lambda: next(answers)
    )
    assert found is None
    assert model.training


def test_what_is_drawn_for_a_window_does_not_depend_on_its_batch(windows):
    of = windows()["advection_1d"]
    config, normalizer = AssimilationConfig(), Identity()

    def errors(numbers):
        window = collate([of[i] for i in numbers])
        _, feed = draw_feed(window, config, normalizer, 7, numbers[0])
        return [None if o is None else o.mask for o in feed.observations]

    whole, part = errors(range(5)), errors(range(2, 4))
    for a, b in zip(whole, part, strict=True):
        if b is not None:
            assert np.array_equal(a[2:4], b)
