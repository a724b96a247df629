"""A stored sample brings what is prescribed along; frames without it are refused in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from driven_tank import tank, write_tank

from pelagos.datasets import open_store
from pelagos.finetune.serve.asked import Sample
from pelagos.finetune.serve.starting import start_from


def test_a_sample_is_driven_as_it_is_stored(tmp_path: Path) -> None:
    store = open_store(write_tank(tmp_path / "tank", {"test": 3}))
    start = start_from(store, tank(), Sample(dataset="tank", trajectory=1, frame=2))
    given, moment = start.data()
    found = tank().predict(given, start=moment, steps=4, prescribed=start.driving)
    np.testing.assert_allclose(found["u"], store.trajectory(1)[3:7, 0], atol=1e-5)
    with pytest.raises(ValueError, match="the data have no such variable"):
        tank().predict(given.drop_vars("q"), start=moment, steps=2)
