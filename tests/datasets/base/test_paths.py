"""`~` and `$VAR` in paths of recipes."""

from pathlib import Path

import pytest

from pelagos.datasets.base.paths import expanded


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
