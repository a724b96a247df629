"""`~` and `$VAR` in paths of recipes."""

import os
from pathlib import Path

import pytest

from pelagos.datasets.base.paths import expanded, require_text


def test_home_and_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/big")
    assert expanded("~/heat", "data.path") == "/home/me/heat"
    assert expanded("$DATA/heat", "data.path") == "/big/heat"
    assert expanded("s3://${DATA}//heat", "data.path") == "s3:///big//heat"
    assert expanded("data/heat", "data.path") == "data/heat"


def test_a_variable_that_is_not_set(monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ValueError, match=r"data\.path: the environment variable NOWHERE of"):
        expanded("$NOWHERE/heat", "data.path")


def test_a_path_that_exists_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("$odd").mkdir()
    assert expanded("$odd", "data.path") == "$odd"


def test_a_path_that_is_no_text_is_named() -> None:
    path = Path(os.fsdecode(b"runs/\xff"))
    with pytest.raises(ValueError, match=r"^runs/\\xff is not UTF-8 text; rename it$"):
        require_text(path, "rename it")
    require_text(Path("läufe/1"), "rename it")
