"""Writing: complete or absent, and what was there stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pelagos.datasets.base.appearing import (
    _exchanged,
    appearing_file,
    appearing_folder,
    is_draft,
    refuse_existing,
)

Appearing = Callable[..., AbstractContextManager[Path]]
BOTH = pytest.mark.parametrize("appearing", [appearing_file, appearing_folder])


def put(draft: Path, text: str) -> None:
    (draft / "a" if draft.is_dir() else draft).write_text(text)


def stop(draft: Path, error: type[BaseException]) -> None:
    put(draft, "half")
    raise error


def held(path: Path) -> str:
    return (path / "a" if path.is_dir() else path).read_text()


def killed(code: str, path: Path) -> None:
    """Run code that writes `path` in a process that is gone before it is done."""
    text = f"""
import os, pathlib
from pelagos.datasets.base.appearing import appearing_file, appearing_folder
path = pathlib.Path({str(path)!r})
{code}
"""
    done = subprocess.run([sys.executable, "-c", text], check=False)
    assert done.returncode == 9


@BOTH
def test_it_has_its_name_when_it_is_complete(appearing: Appearing, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.v1.h5"
    with appearing(path) as draft:
        put(draft, "whole")
        assert not path.exists()
        assert draft.parent == path.parent
        assert (draft.name[0], draft.suffix) == (".", ".h5")
    assert held(path) == "whole"
    assert [*path.parent.iterdir()] == [path]


@BOTH
def test_a_failure_leaves_nothing_and_what_was_there(appearing: Appearing, tmp_path: Path) -> None:
    path = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), appearing(path, overwrite=True) as draft:
            stop(draft, KeyboardInterrupt)
        assert not [*tmp_path.iterdir()]
    with appearing(path) as draft:
        put(draft, "old")
    with pytest.raises(ZeroDivisionError), appearing(path, overwrite=True) as draft:
        stop(draft, ZeroDivisionError)
    assert [*tmp_path.iterdir()] == [path]
    assert held(path) == "old"


@BOTH
def test_only_what_may_be_replaced_is(appearing: Appearing, tmp_path: Path) -> None:
    path = tmp_path / "out"
    for text in ("old", "new"):
        with appearing(path, overwrite=True) as draft:
            put(draft, text)
    with pytest.raises(ValueError, match="out exists already; choose another path"):
        appearing(path).__enter__()
    assert held(path) == "new"
    assert [*tmp_path.iterdir()] == [path]


@BOTH
def test_two_writers_do_not_meet(appearing: Appearing, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with appearing(path, overwrite=True) as first:
        put(first, "first")
        with appearing(path, overwrite=True) as second:
            put(second, "second")
        assert held(path) == "second"
    assert held(path) == "first"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", ["out.yaml", "x" * 250 + ".yaml"])
def test_what_a_killed_process_left_goes_with_the_next_attempt(name: str, tmp_path: Path) -> None:
    path, folder = tmp_path / name, tmp_path / "state"
    killed("with appearing_file(path) as d:\n    d.write_text('half'); os._exit(9)", path)
    killed("with appearing_folder(path) as d:\n    (d / 'a').touch(); os._exit(9)", folder)
    left = [*tmp_path.iterdir()]
    assert sorted(is_draft(found, path) for found in left) == [False, True]
    with appearing_file(path) as draft:
        draft.write_text("whole")
    with appearing_folder(folder):
        assert len([*tmp_path.iterdir()]) == 2
    assert sorted(tmp_path.iterdir()) == sorted([path, folder])


def test_drafts_of_older_versions_are_known() -> None:
    for left in (".recipe.yaml", ".recipe.yaml.partial", ".recipe.partial.yaml"):
        assert is_draft(Path(left), Path("recipe.yaml"))
    for other in ("recipe.yaml", ".recipes.partial.yaml", ".notes", "recipe.partial.yaml"):
        assert not is_draft(Path(other), Path("recipe.yaml"))


def test_files_and_folders_have_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with appearing_file(tmp_path / "file") as draft:
            draft.touch()
        with appearing_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_what_is_refused_before_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuse_existing(tmp_path / "none" / "new", overwrite=False)
    refuse_existing(tmp_path / "file", overwrite=True)
    for path, words in {
        tmp_path: "is a directory; name a file",
        tmp_path / "file": "exists already; choose another path, or replace it",
        tmp_path / "file" / "x": "is a file, not a folder",
    }.items():
        with pytest.raises(ValueError, match=words):
            refuse_existing(path, overwrite=False)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder that is replaced."""
    with appearing_folder(tmp_path / "out") as draft:
        put(draft, "old")
    return tmp_path / "out"


def test_a_folder_that_is_replaced_is_there_at_any_moment(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = [there.with_name(name) for name in ("one", "other")]
    for path in spare:
        path.mkdir()
    if not _exchanged(*spare):
        pytest.skip("this disk exchanges no names")
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("it is away for a moment"))
    with appearing_folder(there, overwrite=True) as draft:
        put(draft, "new")
    assert held(there) == "new"
    assert sorted(there.parent.iterdir()) == sorted([there, *spare])


def test_a_kill_after_the_exchange_leaves_what_is_removed_later(there: Path) -> None:
    code = """
with appearing_folder(path, overwrite=True) as draft:
    (draft / "a").write_text("new")
    import pelagos.datasets.base.appearing as module
    module._remove = lambda _: os._exit(9)
"""
    killed(code, there)
    assert held(there) == "new"
    with appearing_folder(there, overwrite=True) as draft:
        put(draft, "newest")
    assert held(there) == "newest"
    assert [*there.parent.iterdir()] == [there]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_is_replaced_by_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, at_once: bool
) -> None:
    target, path = tmp_path / "target", tmp_path / "out"
    target.mkdir()
    put(target, "kept")
    if kind == "file":
        path.write_text("old")
    else:
        path.symlink_to(target)
    if not at_once:
        monkeypatch.setattr("pelagos.datasets.base.appearing._exchanged", lambda *_: False)
    with appearing_folder(path, overwrite=True) as draft:
        put(draft, "new")
    assert held(path) == "new"
    assert not path.is_symlink()
    assert held(target) == "kept"
    assert sorted(tmp_path.iterdir()) == [path, target]
