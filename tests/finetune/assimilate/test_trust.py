"""The verdict on an assimilation: readings against spread and noise, and what was trained."""

import numpy as np
import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.finetune.assimilate.assimilator import Estimate
from pelagos.finetune.assimilate.start import start_cold
from pelagos.finetune.assimilate.trust import Trust
from pelagos.operators import Description, create
from pelagos.operators.assimilation.measurement import Innovations
from pelagos.operators.core.trained import Ranges

GRID = Grid((16,), (1.0,), ("periodic",))


def operator():
    known = {"mean": (0.0, 0.0), "deviation": (0.0, 0.0)}  # of deviation 1
    ranges = Ranges({"u": known, "v": known}, grid=GRID)
    about = Description(("u", "v"), time_steps=(1.0,), grid=GRID, trained={"": ranges})
    return create("observer", description=about, ndim=1, modes=2, correction={"modes": 2})


def judged(factor=1.0, value=0.5, times=40, problems=(), scores=None, together=False):
    """Readings of u alone, five at a time, whose errors are `factor` times what is expected."""
    own = operator()
    trust = Trust(own, start_cold(own, GRID, {}, 0.0), problems)
    rng = np.random.default_rng(3)
    frame = torch.sin(2 * torch.pi * torch.arange(16) / 16).expand(2, 16) * 2**0.5
    for time in range(times):
        error = np.repeat(rng.standard_normal(), 5) if together else rng.standard_normal(5)
        variance = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])
        found = Innovations(
            torch.zeros(5, dtype=torch.long),
            torch.full((5,), value),
            factor * torch.from_numpy(error).float() * variance.sqrt(),
            variance,
        )
        trust.add(Estimate(time + 1.0, frame, frame, frame[None], found))
    trust.add(Estimate(times + 1.0, frame, frame, frame[None]))
    verdict = trust.verdict(scores or {})
    return verdict, {finding.quantity: finding for finding in verdict.findings}


@pytest.mark.parametrize("together", [False, True])
def test_errors_of_the_expected_size_are_inside(together):
    """Also those that are one and the same all over space."""
    verdict, findings = judged(together=together)
    assert verdict.status == "inside"
    # Quantiles of chi-square, 40 degrees of freedom, from tables: 20.707 and 66.766.
    assert "consistent are 0.518 to 1.67 (chi-square, level 0.01)" in findings[
        "innovations of u"].text  # fmt: skip
    assert "200 reading(s) at 40 time(s)" in findings["innovations of u"].text
    assert findings["readings of v"].status == "unknown"
    assert "never measured" in findings["readings of v"].text
    assert findings["time step"].status == findings["grid"].status == "inside"


@pytest.mark.parametrize(
    ("factor", "text"), [(1.5, "too small, or the forecast"), (0.3, "larger than it need be")]
)
def test_errors_of_another_size_are_outside(factor, text):
    verdict, findings = judged(factor)
    assert verdict.status == findings["innovations of u"].status == "outside"
    assert text in findings["innovations of u"].text
    with pytest.warns(UserWarning, match="innovations of u"):
        verdict.act(strict=False)


def test_readings_that_no_training_data_had_are_outside():
    _, findings = judged(value=300.0)
    assert findings["readings of u"].status == "outside"
    assert "300 to 300; in training about -6 to 6" in findings["readings of u"].text


def test_one_far_reading_in_hundreds_is_inside_and_many_are_not():
    assert "deviations off" in judged(8.0)[1]["innovations of u"].text


@pytest.mark.parametrize(
    ("ratio", "status"), [(0.4, "outside"), (0.8, "inside"), (2.5, "outside"), (np.nan, None)]
)
def test_the_spread_is_that_of_the_error_where_the_truth_is_known(ratio, status):
    scores = {"analyses of u": {"rmse": 1.0, "spread / rmse": ratio, "crps": 0.1}}
    found = judged(scores=scores)[1].get("spread of analyses of u")
    assert (None if found is None else found.status) == status


def test_rows_that_were_left_out_are_told():
    _, findings = judged(problems=["line 3: value must be a number"])
    assert (
        "1 row(s) of the file were wrong, the first: line 3" in findings["readings left out"].text
    )
