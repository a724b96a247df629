import numpy as np

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.files.hdf5 import Hdf5File, metadata
from pelagos.datasets.layouts.arrays import ArraySource, Variable
from pelagos.datasets.layouts.layout import Layout
from pelagos.datasets.layouts.source import Header


def matches(path):  # by its contents
    try:
        with metadata(path) as root:
            return "heat_runs" in root
    except ValueError:  # no HDF5
        return False


def open_file(path, split, variant):  # the sources of a file by split
    file = Hdf5File(path)
    n, frames, points = file.array("heat_runs").shape
    grid, times = Grid.unit((points,)), 0.1 * np.arange(frames)
    header = Header(axes=("x",), grid=grid, times=times, rows=range(n), units={"temperature": "K"})
    fields = {"temperature": Variable("heat_runs", ("trajectory", "time", "x"))}
    return {split: ArraySource(file, header, fields)}


LAYOUT = Layout("HeatRuns", matches, open_file)
