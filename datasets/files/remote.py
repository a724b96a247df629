"""Data sets behind a URL (`s3://`, `gs://`, `https://`, … : any that fsspec knows), staged locally.

Files are copied into a cache folder on first use and read from there, by memory map where possible.
A copy counts as long as the remote file has the same size and version (what `fsspec` calls its
unique key: ETag, modification time, …). The cache, `$PELAGOS_CACHE` or `~/.cache/pelagos/remote`,
holds at most `$PELAGOS_CACHE_BYTES` (64 GiB by default): data sets used longest ago are deleted
first. Processes may stage the same data at once; files appear under their names only when complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from ..base.appearing import appearing_file
from ..base.texts import MOST_JSON, parse_json, read_text
from ..fields.vocabulary import SPLITS

LIMIT = 64 * 2**30  # bytes
# What copies files from elsewhere, and nothing that reads this machine or makes things up.
_SCHEMES = {
    *("abfs", "abfss", "az", "ftp", "gcs", "gs", "hf", "http", "https", "memory", "oci", "oss"),
    *("s3", "s3a", "sftp", "ssh", "webdav", "webdavs"),
}
# What fsspec needs for some of them, where it is missing.
_PACKAGES = {
    "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs", "gcs": "gcsfs", "gs": "gcsfs",
    "http": "aiohttp requests", "https": "aiohttp requests", "oci": "ocifs", "oss": "ossfs",
    "s3": "s3fs", "s3a": "s3fs", "sftp": "paramiko", "ssh": "paramiko", "webdav": "webdav4",
    "webdavs": "webdav4",
}  # fmt: skip
STATE = "staged.json"  # beside each data set: which version of each file is there


def is_remote(path: str | Path) -> bool:
    """Whether a path is a URL."""
    return isinstance(path, str) and "://" in path


def stage(url: str, split: str | None = None) -> Path:
    """A local copy of the file or folder at `url`; of a folder only what `split` needs.

    Raises:
        ValueError: nothing is there, it cannot be reached, or it is larger than the cache may be.
    """
    scheme = url.partition("://")[0].lower()
    if not set(scheme.split("::")) <= _SCHEMES:
        raise ValueError(
            f"{url:.200} cannot be read ({scheme}:// is none of {', '.join(sorted(_SCHEMES))}; "
            "of a file on this machine give the path)"
        )
    try:
        system, root = fsspec.core.url_to_fs(url)
        there = dict(_files(system, root))
        remote = {name: system.info(there[name]) for name in there if _needed(name, split)}
    except Exception as error:  # of whatever library knows this kind of address
        raise ValueError(
            f"{url} cannot be read ({_reason(error):.200}); {_remedy(scheme, error)}"
        ) from None
    if not remote:
        raise ValueError(f"nothing is at {url}")
    entry = _cache() / hashlib.sha256(url.encode()).hexdigest()[:24]
    entry.mkdir(parents=True, exist_ok=True)
    _make_room(entry, url, sum(int(info.get("size") or 0) for info in remote.values()))
    known = _state(entry)
    for name in set(known) - set(
        there
    ):  # deleted since, or renamed: read again it would count twice
        (entry / name).unlink(missing_ok=True)
        del known[name]
    for name, info in remote.items():
        version = f"{info.get('size')} {system.ukey(info['name'])}"
        target = entry / name
        if known.get(name) != version or not target.is_file():
            _copy(system, info["name"], target)
            known[name] = version
            with appearing_file(entry / STATE, overwrite=True) as draft:
                draft.write_text(json.dumps(known), encoding="utf-8")
    os.utime(entry / STATE)
    return entry / PurePosixPath(root).name


def _files(system: Any, root: str) -> Iterator[tuple[str, str]]:
    """Local name (below the entry) and remote path of every file."""
    top = PurePosixPath(root)
    for found in system.find(root):
        inner = PurePosixPath(found).relative_to(top) if found != root else PurePosixPath()
        if ".." not in inner.parts:
            yield str(PurePosixPath(top.name) / inner), found


def _needed(name: str, split: str | None) -> bool:
    """Whether a split needs a file: it lies in no other split's folder."""
    inner = PurePosixPath(name).parts[1:]
    return split not in SPLITS or not set(inner) & (set(SPLITS) - {split})


def _copy(system: Any, source: str, target: Path) -> None:
    try:
        with appearing_file(target, overwrite=True) as draft:
            system.get_file(source, str(draft))
    except ValueError:
        raise
    except Exception as error:  # as above
        reason = _reason(error)
        raise ValueError(f"{source} cannot be copied to {target.parent} ({reason:.200})") from None


def _remedy(scheme: str, error: Exception) -> str:
    if isinstance(error, ImportError) and scheme in _PACKAGES:
        return f"pip install {_PACKAGES[scheme]}"
    return "check address and network, or copy the data here and give their path"


def _reason(error: Exception) -> str:
    """What an error says, or else its kind."""
    return " ".join(str(error).split()) or type(error).__name__


def _state(entry: Path) -> dict[str, str]:
    try:
        known = parse_json(read_text(entry / STATE, MOST_JSON))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _make_room(entry: Path, url: str, needed: int) -> None:
    """Delete the data sets used longest ago until `needed` bytes fit."""
    given = os.environ.get("PELAGOS_CACHE_BYTES", str(LIMIT))
    if not given.isdecimal():
        raise ValueError(f"PELAGOS_CACHE_BYTES must be a number of bytes; got {given!r}")
    limit = int(given)
    if needed > limit:
        raise ValueError(
            f"{url} has {needed} bytes, and the cache holds at most {limit}; set "
            f"PELAGOS_CACHE_BYTES, or open one split"
        )
    others = [other for other in _cache().iterdir() if other != entry and other.is_dir()]
    sizes = {other: _size(other) for other in others}
    for other in sorted(others, key=_used):
        if sum(sizes.values()) + needed <= limit:
            break
        shutil.rmtree(other, ignore_errors=True)
        del sizes[other]


def _used(entry: Path) -> float:
    state = entry / STATE
    return state.stat().st_mtime if state.exists() else 0.0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cache() -> Path:
    given = os.environ.get("PELAGOS_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "pelagos" / "remote"
