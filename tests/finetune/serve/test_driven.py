"""What is prescribed over HTTP: with a sample, in JSON, in a file; missing, it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from driven_tank import DT, POINTS, START, TIMES, Tank, inflow, level, tank, write_tank
from fastapi.testclient import TestClient

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.finetune.serve import Limits, Served
from pelagos.finetune.serve.app import application
from pelagos.finetune.serve.asked import Sample
from pelagos.finetune.serve.shelf import Shelf
from pelagos.finetune.serve.starting import start_from
from pelagos.finetune.serve.work import Task, done
from pelagos.operators import Description, assimilate, create
from pelagos.operators.assimilation.correction import CorrectionConfig
from pelagos.operators.core import registry

UNITS = {"u": "m", "q": "m/s", "time": "s"}
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Status and content of the answer to a task, of a server with a tank and its data."""
    monkeypatch.setitem(registry.OPERATORS.added, Tank.name, Tank)
    operator = tank(grid=Grid.unit((POINTS,)), units=UNITS)
    observing = assimilate(operator, None, correction=CorrectionConfig(modes=3, hidden=4))
    places = {
        "tank": str(operator.save_pretrained(tmp_path / "tank")),
        "observing": str(observing.save_pretrained(tmp_path / "observing")),
    }
    data = {"tanks": str(write_tank(tmp_path / "tanks", {"test": 3}))}
    shelf = Shelf(Served(places, data, limits=Limits(megabytes=1.0)))

    def ask(name: str, body: Any, **query: Any) -> tuple[int, Any]:
        path = tmp_path / "requests" / str(len([*tmp_path.glob("requests/*")])) / "request.body"
        path.parent.mkdir(parents=True)
        path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        head, content = done(shelf, Task(name, query, str(path)))
        return head["status"], json.loads(content)

    return ask


def refused(answer: tuple[int, Any], *texts: str) -> None:
    status, found = answer
    assert 400 <= status < 500, found
    assert all(text in found["error"] for text in texts), found
    assert "\n" not in found["error"]
    assert "--prescribed" not in found["error"]  # over HTTP there is no command line


def test_a_sample_is_driven_as_it_is_stored(tmp_path: Path) -> None:
    store = open_store(write_tank(tmp_path / "tank", {"test": 3}))
    start = start_from(store, tank(), Sample(dataset="tank", trajectory=1, frame=2))
    given, moment = start.data()
    found = tank().predict(given, start=moment, steps=4, prescribed=start.driving)
    np.testing.assert_allclose(found["u"], store.trajectory(1)[3:7, 0], atol=1e-5)
    with pytest.raises(ValueError, match="the data have no such variable"):
        tank().predict(given.drop_vars("q"), start=moment, steps=2)


def test_cards_say_what_is_prescribed(asked: Ask) -> None:
    found = {c["name"]: c for c in asked("checkpoints", b"")[1]["checkpoints"]}
    assert found["tank"]["prescribed"] == found["observing"]["prescribed"] == ["q"]
    assert asked("datasets", b"")[1]["datasets"][0]["prescribed"] == ["q"]


def test_a_sample_may_be_driven_otherwise_and_further(asked: Ask) -> None:
    body = {"checkpoint": "tank", "sample": {"dataset": "tanks", "trajectory": 1, "frame": 2}}
    far = {"forecast": {"steps": 12}}
    refused(asked("predict", body | far), "q is prescribed", "until 17; there are", '"prescribed"')
    q = np.linspace(-1.0, 1.0, 13)
    along = {"times": (DT * np.arange(13)).tolist(), "fields": {"q": q.tolist()}}
    status, found = asked("predict", body | far | {"prescribed": along})
    assert status == 200, found
    first = level(inflow(0, 3))[1, 2]
    gained = np.cumsum(DT * (q[1:] + q[:-1]) / 2)
    np.testing.assert_allclose(found["fields"]["u"], first + gained[:, None], atol=1e-4)
    whole = {"times": along["times"], "fields": {"q": np.outer(q, np.ones(POINTS)).tolist()}}
    assert asked("predict", body | far | {"prescribed": whole})[1]["fields"] == found["fields"]


@pytest.mark.filterwarnings("ignore:outside of what was trained")
def test_fields_of_ones_own_are_driven(asked: Ask) -> None:
    u = np.arange(POINTS, dtype=np.float64)
    body = {"checkpoint": "tank", "fields": {"u": u.tolist()}, "forecast": {"steps": 3}}
    refused(asked("predict", body), "takes q as prescribed", '"prescribed": {"times"')
    times = [0.0, 0.5, 1.0, 1.5]

    def driven(**along: Any) -> tuple[int, Any]:
        known = {"times": times, "fields": {"q": [0.0, 2.0, 2.0, 4.0]}}
        return asked("predict", body | {"prescribed": known | along})

    status, found = driven()
    assert status == 200, found
    np.testing.assert_allclose(found["fields"]["u"], u + np.array([[0.5], [1.5], [3.0]]), rtol=1e-5)
    huge = {"q": [0.0, 3e38, 3e38, 3e38]}
    status, found = driven(fields=huge, times=[0.0, 1.0, 2.0, 3.0])
    assert status == 200, found
    assert found["fields"]["u"][2] == [None] * POINTS
    assert found["verdict"]["status"] == "outside"
    refused(driven(times=times[:2], fields={"q": [0.0, 2.0]}), "q is prescribed", "there are 0 to")
    refused(driven(fields={"q": [0.0, 2.0]}), "prescribed.fields.q must have shape (4,) or (4, 8)")
    refused(driven(fields={"flow": times}), "takes no 'flow' as prescribed")
    refused(driven(fields={"q": [0.0, 2.0, None, 4.0]}), "q holds NaN")
    refused(driven(times=[0.0, 1.0, 0.5, 1.5]), "prescribed.times must be finite and increase")
    many = np.arange(40_000.0).tolist()
    assert driven(times=many, fields={"q": many})[0] == 413  # on the grid


def upload(folder: Path, seed: int = 2, row: int = 0, **variables: Any) -> bytes:
    x, u = np.arange(POINTS) / POINTS, level(inflow(seed, row + 1))[row]
    data = xarray.Dataset(
        {"u": (("time", "x"), u, {"units": "m"}), **variables}, {"time": TIMES, "x": x}
    )
    data.to_netcdf(folder / "made.nc", engine="h5netcdf")
    return (folder / "made.nc").read_bytes()


def test_a_file_brings_it_along(asked: Ask, tmp_path: Path) -> None:
    q = inflow(2, 1)[0]
    query = {"checkpoint": "tank", "forecast": {"steps": 4}}
    bare = upload(tmp_path)
    refused(asked("predict file", bare, **query), "takes q as prescribed", "NAME(forcing_time)")
    whole = upload(tmp_path, q=("time", 1000.0 * q, {"units": "mm/s"}))
    refused(asked("predict file", whole, **query), "from 14 until 16; there are 10 to 14", "start=")
    status, found = asked("predict file", whole, start="11.0", **query)
    assert status == 200, found
    np.testing.assert_allclose(found["fields"]["u"], level(q[None])[0, 3:7], rtol=1e-5)
    later = {"later": ("later", 13.5 + np.arange(4.0))}
    status, found = asked("predict file", upload(tmp_path, q=("later", 2 * np.ones(4)), **later),
                          **query)  # fmt: skip
    assert status == 200, found
    last = level(q[None])[0, -1]
    np.testing.assert_allclose(found["fields"]["u"], last + np.arange(1, 5)[:, None], rtol=1e-5)
    short = upload(tmp_path, q=("later", np.ones(2)), later=("later", [13.5, 14.5]))
    refused(asked("predict file", short, **query), "must be given at all times")
    for text in ("soon", "", "2030-01-01"):
        refused(asked("predict file", whole, start=text, **query), "start must be a time of the da")
    refused(asked("predict file", whole, start="nan", **query), "no frame is at nan")
    refused(asked("predict file", whole, start="11.2", **query), "no frame is at 11.2")
    many = upload(tmp_path, q=("later", np.ones(50_000)), later=("later", np.arange(50_000.0)))
    assert asked("predict file", many, **query)[0] == 413


@pytest.mark.parametrize("cold", [True, False])
def test_estimates_are_driven(asked: Ask, cold: bool) -> None:
    q = [1.0] * 6
    along = {"times": (DT * np.arange(6)).tolist(), "fields": {"q": q}}
    readings = [
        {"time": (DT if cold else START + 3 * DT), "x": k / POINTS, "field": "u", "value": 3.0,
         "std": 0.1} for k in range(POINTS)
    ]  # fmt: skip
    body = {"checkpoint": "observing", "observations": readings, "forecast": 3}
    sample = {} if cold else {"sample": {"dataset": "tanks", "trajectory": 0, "frame": 2}}
    status, found = asked("assimilate", body | sample | {"prescribed": along})
    assert status == 200, found
    rises = np.diff(np.array(found["fields"]["u"]), axis=0)
    np.testing.assert_allclose(rises, DT, atol=1e-4)  # of an inflow of 1
    if cold:
        refused(asked("assimilate", body), "takes q as prescribed", '"prescribed"')
    short = {"times": [0.0, DT], "fields": {"q": [1.0, 1.0]}}
    refused(asked("assimilate", body | sample | {"prescribed": short}), "at all times")


def test_over_http(tmp_path: Path) -> None:
    about = Description(("u",), prescribed=("q",), time_steps=(DT,), grid=Grid.unit((POINTS,)))
    operator = create("dymixop", description=about, ndim=1, history=1, hidden=4, layers=1, modes=2)
    place = str(operator.save_pretrained(tmp_path / "driven"))
    data = {"tanks": str(write_tank(tmp_path / "tanks", {"test": 2}))}
    served = Served({"driven": place}, data, limits=Limits(seconds=600.0))
    q, u = inflow(0, 2)[1], level(inflow(0, 2))[1]
    expected = operator.predict(open_store(data["tanks"]).to_xarray().isel(trajectory=1),
                                start=TIMES[2], steps=3)["u"]  # fmt: skip
    with TestClient(application(served), base_url="http://localhost") as client:
        sample = {"dataset": "tanks", "trajectory": 1, "frame": 2}
        body = {"checkpoint": "driven", "forecast": {"steps": 3}}
        stored = client.post("/api/predict", json=body | {"sample": sample})
        along = {"times": [0.0, 0.5, 1.0, 1.5], "fields": {"q": q[2:6].tolist()}}
        given = {"fields": {"u": u[2].tolist()}, "prescribed": along}
        own = client.post("/api/predict", json=body | given)
        file = upload(tmp_path, seed=0, row=1, q=("time", q))
        where = "/api/predict/file?checkpoint=driven&steps=3&start=11"
        dropped = client.post(where, content=file)
        for found in (stored, own, dropped):
            assert found.status_code == 200, found.text
            np.testing.assert_allclose(found.json()["fields"]["u"], expected, rtol=1e-4, atol=1e-5)
        bare = client.post("/api/predict", json=body | {"fields": {"u": u[2].tolist()}})
        assert bare.status_code == 400
        assert "takes q as prescribed" in bare.json()["error"]
        pages = client.get("/docs").text
    for text in ("prescribed.times", "prescribed.fields", "initial time", "What it takes as pre"):
        assert text in pages
