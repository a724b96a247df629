"""Files that HDF5 writes while the disk fails, at calls near the beginning, the middle, the end."""

import errno
import os

import h5netcdf
import h5py
import numpy as np
import pytest
import xarray

from pelagos.datasets.files.disk import written
from pelagos.datasets.files.netcdf_written import write_netcdf

VALUES = np.random.default_rng(0).random((200, 300)).astype("f4")


def fill(disk):
    with h5py.File(disk, "w") as file:
        file["plain"] = VALUES
        file.create_dataset("chunked", data=VALUES, chunks=(10, 30), compression="gzip")
        file["plain"].attrs["unit"] = "m"


def calls(path, monkeypatch, name):
    """How often a file that is written asks for this."""
    count, real = 0, getattr(os, name)

    def counting(*arguments):
        nonlocal count
        count += 1
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, counting)
        with written(path) as disk:
            fill(disk)
    return count


def test_what_is_written_is_read(tmp_path):
    with written(tmp_path / "a.h5") as disk:
        fill(disk)
    with written(tmp_path / "a.h5", new=False) as disk, h5py.File(disk, "r+") as file:
        file["more"] = VALUES[::-1]
    with h5py.File(tmp_path / "a.h5") as file:
        for name, values in (("plain", VALUES), ("chunked", VALUES), ("more", VALUES[::-1])):
            np.testing.assert_array_equal(file[name], values)


def test_half_writes_are_gone_on_with(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: real(f, data[: len(data) // 2 + 1], at))
    with written(tmp_path / "a.h5") as disk:
        fill(disk)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["chunked"], VALUES)


@pytest.mark.parametrize("name", ["pwrite", "ftruncate"])
@pytest.mark.parametrize("forever", [False, True])
def test_every_failure_is_raised_with_the_name(name, forever, tmp_path, monkeypatch):
    path, real = tmp_path / "a.h5", getattr(os, name)
    count = calls(path, monkeypatch, name)
    assert count
    for bad in sorted({*range(count)} & {0, 1, 2, count // 2, count - 3, count - 2, count - 1}):
        made = 0

        def failing(*arguments, bad=bad):
            nonlocal made
            made += 1
            if made == bad + 1 or (forever and made > bad):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            with pytest.raises(OSError, match=r"No space left.*a\.h5"), written(path) as disk:
                fill(disk)


def test_netcdf_is_what_xarray_writes(tmp_path):
    data = xarray.Dataset(
        {"u": (("time", "x"), VALUES, {"units": "m s-1"})},
        coords={"time": np.arange(200.0), "x": np.arange(300)},
        attrs={"title": "a"},
    )
    data.u[3, 4] = np.nan
    write_netcdf(data, tmp_path / "ours.nc")
    data.to_netcdf(tmp_path / "theirs.nc", engine="h5netcdf")
    with (
        xarray.open_dataset(tmp_path / "ours.nc") as ours,
        xarray.open_dataset(tmp_path / "theirs.nc") as theirs,
    ):
        assert ours.identical(theirs)
        assert ours.u.encoding["dtype"] == theirs.u.encoding["dtype"]
    with written(tmp_path / "ours.nc", new=False) as disk, h5netcdf.File(disk, "a") as file:
        file.attrs["more"] = "b"
    with xarray.open_dataset(tmp_path / "ours.nc") as ours:
        assert ours.attrs["more"] == "b"
