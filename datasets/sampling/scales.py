"""Statistics of training data: of fields, by dataset and pooled, and of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ..base.processes import ALONE, Processes
from ..fields.moments import Moments
from ..fields.normalization import FLOOR, POOLED, Standard, Statistics
from ..fields.vocabulary import UNSPLIT
from ..stores.statistics import constant_moments, field_moments
from ..stores.store import Store

Table = dict[str, tuple[float, float]]  # name -> mean and standard deviation
CONSTANT = 1e-12  # the same, of values that do not vary: less than single precision can vary


def pooled_statistics(stores: Sequence[Store], processes: Processes = ALONE) -> Statistics:
    """Mean and standard deviation of every field, from the training trajectories of each store.

    Over trajectories, time and space, in one pass and constant memory; the input fields of steady
    problems too. What is masked does not count. In the pooled entry every dataset that has the
    field counts the same, whatever its size; a field that a dataset masks entirely has the pooled
    entry there. A standard deviation is at least one millionth of the root mean square, but 0 for a
    field that is the same everywhere. All `processes` call it and share the reading.

    Raises:
        ValueError: two stores have the same name, or a store holds no training trajectories.
    """
    tables: dict[str, Table] = {}
    for store in stores:
        if store.name in tables:
            raise ValueError(f"two datasets are named {store.name!r}; names must be unique")
        tables[store.name] = _fields(store, processes) | _constants(store, store.inputs, processes)
    pooled = _pool([*tables.values()])
    for store in stores:
        masked = dict.fromkeys(store.fields, (0.0, 1.0)) | pooled
        tables[store.name] = {name: masked[name] for name in store.fields} | tables[store.name]
    tables[POOLED] = pooled
    return Statistics(
        {
            name: {field: mean for field, (mean, _) in table.items()}
            for name, table in tables.items()
        },
        {
            name: {field: _floored(mean, std) for field, (mean, std) in table.items()}
            for name, table in tables.items()
        },
    )


def condition_scales(
    stores: Sequence[Store],
    constant_fields: Sequence[str],
    parameters: Sequence[str],
    processes: Processes = ALONE,
) -> dict[str, Standard]:
    """How constant fields and parameters are scaled: by training data of all stores together.

    Every dataset counts the same. A parameter that is positive and spans more than a decade is
    scaled by its logarithm. What never varies is scaled by its magnitude.

    Raises:
        ValueError: a store lacks one of them, or holds no training trajectories.
    """
    for store in stores:
        _require_conditions(store, constant_fields, parameters)
    constants = _pool([_constants(store, constant_fields, processes) for store in stores])
    scales = {name: Standard.of(*constants[name]) for name in constant_fields}
    for name in parameters:
        columns = [_parameter(store, name) for store in stores]
        low, high = min(map(np.min, columns)), max(map(np.max, columns))
        log = bool(low > 0 and high > 10 * low)
        values = [np.log(column) if log else column for column in columns]
        pooled = _pool([{name: (float(v.mean()), float(v.std()))} for v in values])
        scales[name] = replace(Standard.of(*pooled[name]), log=log)
    return scales


def prescribed_scales(
    stores: Sequence[Store], names: Sequence[str], processes: Processes = ALONE
) -> dict[str, Standard]:
    """How prescribed fields are scaled: by training data of all stores that have them.

    Raises:
        ValueError: a value is NaN or infinite, or a store holds no training trajectories.
    """
    given = [store.prescribed for store in stores if names and store.prescribed is not None]
    pooled = _pool([_fields(each, processes) for each in given])
    return {name: Standard.of(*pooled[name]) for name in names if name in pooled}


def _require_conditions(
    store: Store, constant_fields: Sequence[str], parameters: Sequence[str]
) -> None:
    groups = (
        ("constant field", constant_fields, store.constant_fields),
        ("parameter", parameters, store.parameter_names),
    )
    for kind, names, known in groups:
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"dataset {store.name!r} has no {kind} {', '.join(missing)}; it has "
                f"{', '.join(known) or 'none'}. Leave it out of `conditions`, which must name what "
                "all datasets have"
            )


def _parameter(store: Store, name: str) -> Float[np.ndarray, " n"]:
    """One parameter of all training trajectories."""
    return store.parameter_table()[training_part(store), store.parameter_names.index(name)]


def training_part(store: Store) -> range:
    """The training trajectories of a store.

    Raises:
        ValueError: it was opened without them.
    """
    indices = store.splits.get("train", store.splits.get(UNSPLIT))
    if indices is None:
        raise ValueError(
            f"{store.name!r} was opened without its training split; statistics need it "
            f"(open_store(path) or open_store(path, 'train'))"
        )
    return indices


def _fields(store: Store, processes: Processes) -> Table:
    return _table(field_moments(store, training_part(store), processes))


def _constants(store: Store, names: Sequence[str], processes: Processes) -> Table:
    return _table(constant_moments(store, training_part(store), names, processes))


def _table(found: dict[str, Moments]) -> Table:
    return {name: (float(m.mean[0]), float(m.std[0])) for name, m in found.items()}


def _pool(tables: Sequence[Table]) -> Table:
    """Mean and standard deviation of the equal-weight mixture of the datasets, by field."""
    pooled = {}
    for field in dict.fromkeys(field for table in tables for field in table):
        mean, std = np.array([table[field] for table in tables if field in table]).T
        centre = mean.mean()
        pooled[field] = (
            float(centre),
            float(np.sqrt((std**2 + (mean - centre) ** 2).mean())),
        )
    return pooled


def _floored(mean: float, std: float) -> float:
    size = float(np.hypot(mean, std))
    return 0.0 if std <= CONSTANT * size else max(std, FLOOR * size)
