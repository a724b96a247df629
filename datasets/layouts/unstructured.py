"""Unstructured meshes, which are not read: how they are known, and what would make them a grid."""

from __future__ import annotations

from collections.abc import Mapping

# Names of dimensions that count the cells or places of a mesh without axes.
PLACES = {
    *("station", "stations", "ncol", "ncells", "cell", "cells", "node", "nodes", "face", "faces"),
    *("edge", "edges", "vertex", "vertices", "point", "points", "element", "elements", "nele"),
    *("nnode", "nnodes", "nvertices", "ncell", "nedges", "nface", "nfaces", "values", "gridpoint"),
}
POINTS = {
    "points",
    "nodes",
    "vertices",
    "coordinates",
    "coords",
    "positions",
    "pos",
    "xyz",
    "mesh",
    "geometry",
}
LISTS = {"cells", "connectivity", "elements", "triangles", "tetra", "faces", "topology", "edges"}
REMEDY = (
    "a grid has rows and columns: interpolate every frame to one first, such as by "
    "scipy.interpolate.griddata(places, values, (X, Y)), and write it as u(time, x, y)"
)


def counts_places(dimension: str) -> bool:
    """Whether a dimension counts the places of a mesh, by its name (also of UGRID: nMesh2_face)."""
    name = dimension.lower()
    ends = ("_node", "_face", "_edge", "_cell", "_nodes", "_faces", "_edges", "_cells")
    return name in PLACES or (name.startswith("nmesh") and name.endswith(ends))


def lists_of_cells(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The arrays of a file that list the points of a mesh and its cells; "" if there are none."""
    plain = {name: name.rpartition("/")[2].lower() for name in shapes}
    points = [
        name
        for name, shape in shapes.items()
        if plain[name] in POINTS and len(shape) == 2 and shape[1] in (2, 3) and shape[0] > 3
    ]
    lists = [name for name in shapes if plain[name] in LISTS]
    return f"{points[0]} and {lists[0]}" if points and lists else ""
