"""Published weights by the name of a layout or an operator."""

from __future__ import annotations

import json

import pytest

from pelagos.operators import create, published
from pelagos.operators.core.published import PublishedLayout
from pelagos.operators.multiscale.published import save_scot

SMALL = {"width": 8, "depths": (1,), "heads": (2,), "skips": (1,), "window": 4}


@pytest.fixture
def scot(tmp_path):
    operator = create("multiscale", fields=("u",), ndim=2, resolution=(16, 16), **SMALL)
    return save_scot(operator, tmp_path / "scot")


def test_weights_say_of_which_layout_they_are(scot, tmp_path):
    assert published.detect(scot) == "scot"
    assert published.detect("hf:owner/model") == "scot"
    assert published.detect(tmp_path / "checkpoint_at_end.pth") == "dymixop"
    (tmp_path / "config.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(ValueError, match="is a checkpoint already"):
        published.detect(tmp_path)


def test_in_and_out_by_name(scot, tmp_path):
    operator = published.load(scot, fields=("height",))
    assert operator.name == "multiscale"
    assert operator.description.fields == ("height",)
    back = published.save(operator, tmp_path / "back")
    for path in scot.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes()


def test_what_there_is_not_is_named(scot, tmp_path):
    with pytest.raises(ValueError, match="grid_width has no meaning for scot weights"):
        published.load(scot, grid_width=0.1)
    with pytest.raises(ValueError, match="unknown published layout 'scto'; did you mean 'scot'"):
        published.load(scot, "scto")
    observer = create("observer", fields=("u",), ndim=1, hidden=4, layers=1, modes=3)
    with pytest.raises(ValueError, match=r"'observer'; only multiscale and dymixop can"):
        published.save(observer, tmp_path / "out")


def test_the_layout_of_another_package_is_asked_first(scot, monkeypatch):
    mine = PublishedLayout(
        operator="multiscale",
        recognises=lambda path, config: "num_out_channels" in (config or ()),
        load=lambda path: create("multiscale", fields=("mine",), ndim=2, **SMALL),
        save=lambda operator, directory: directory / "mine",
        options=(),
    )
    monkeypatch.setitem(published.LAYOUTS.added, "mine", mine)
    assert published.detect(scot) == "mine"
    assert published.load(scot).description.fields == ("mine",)
    assert published.save(published.load(scot), scot) == scot / "mine"
