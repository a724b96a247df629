"""The tutorials run as they are, each in an empty folder."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.py"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder; figures are drawn and not shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    return tmp_path


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")
def test_a_tutorial_runs(tutorial, elsewhere, capsys):
    runpy.run_path(str(tutorial))
    assert capsys.readouterr().out
