"""Where the files of a dataset lie: in folders of splits, in one folder, or in a single file."""

from __future__ import annotations

from pathlib import Path

from ..base.manifest import MANIFEST
from ..base.paths import shown, there
from ..fields.vocabulary import SPLITS, UNSPLIT
from .containers import SUFFIXES, data_files, kind

# What other projects call the folders of splits.
MISNAMED = {"val": "valid", "validation": "valid", "dev": "valid"} | {
    "training": "train",
    "testing": "test",
}


def find_files(path: Path) -> list[tuple[str, Path]]:
    """Split and path of every data file under `path`.

    Raises:
        ValueError: there are none, or the dataset is incomplete.
    """
    if not there(path):
        raise ValueError(f"no such file or folder: {shown(path)}")
    if not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise ValueError(f"{path} is neither a file nor a folder")
    if path.is_file() or kind(path):
        return [(path.parent.name if path.parent.name in SPLITS else UNSPLIT, path)]
    _check_complete(path)
    base = path / "data" if (path / "data").is_dir() else path
    folders = [base / name for name in SPLITS if (base / name).is_dir()] or [base]
    for name, split in MISNAMED.items():
        if folders != [base] and (base / name).is_dir() and base / split not in folders:
            raise ValueError(f"{base / name} would not be read; name it {split!r}, or a link to it")
    files = [
        (folder.name if folder.name in SPLITS else UNSPLIT, file)
        for folder in folders
        for file in data_files(folder)
    ]
    if not files:
        inner = sorted(item.name for item in path.iterdir() if item.is_dir())
        if inner and base == path:
            raise ValueError(
                f"no data files in {path}, but the folders {', '.join(inner[:8])}; open one of them"
            )
        raise ValueError(
            f"no HDF5 files in {path}; expected {', '.join(f'*{s}' for s in SUFFIXES)} in it or in "
            f"data/train, data/valid, data/test below it"
        )
    return files


def dataset_name(path: Path) -> str:
    """The name of a dataset that does not say it: the file's, or its root folder's."""
    if path.is_file() or kind(path):
        return path.stem
    for part in (*SPLITS, "data"):
        path = path.parent if path.name == part else path
    return path.name


def _check_complete(path: Path) -> None:
    """Refuse a dataset whose simulation or conversion has not finished."""
    path = path.resolve()
    root = path.parent.parent if path.name in SPLITS else path
    root = path.parent if path.name == "data" else root
    for made, last in (
        ("rechunking", MANIFEST),
        ("simulation", "stats.yaml"),
        ("conversion", "stats.yaml"),
    ):
        if (root / f"{made}.yaml").exists() and not (root / last).exists():
            raise ValueError(
                f"the dataset {root} is incomplete (it has no {last}): its {made} was "
                f"interrupted; run the same {made} again to finish it"
            )
