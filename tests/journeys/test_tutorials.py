"""The tutorials run, each in an empty folder."""

import re
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


KEYS = re.compile(r"^(steps: |save_every: |log_every: |validation: {+every: )\d+", re.MULTILINE)


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
@pytest.mark.parametrize("length", ["short", pytest.param("whole", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("default")
def test_a_tutorial_runs(tutorial, length, elsewhere, capsys):
    """As it is, or with few training steps."""
    text, path = tutorial.read_text(), elsewhere / tutorial.name
    assert KEYS.search(text)
    path.write_text(text if length == "whole" else KEYS.sub(r"\g<1>4", text))
    runpy.run_path(str(path))
    assert capsys.readouterr().out
