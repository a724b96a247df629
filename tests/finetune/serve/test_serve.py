"""The server: what it answers, what it refuses, and that it stays up."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import threading
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from fastapi.testclient import TestClient

from pelagos.datasets import open_store
from pelagos.finetune.cli.console import main
from pelagos.finetune.serve import Limits, Served
from pelagos.finetune.serve import app as serving
from pelagos.finetune.serve.pool import Head, Pool
from pelagos.finetune.serve.refusals import TooLarge
from pelagos.finetune.serve.served import named
from pelagos.finetune.serve.shelf import Shelf
from pelagos.finetune.serve.unpacking import unpack
from pelagos.finetune.serve.uploads import opened
from pelagos.finetune.serve.work import Task, done
from pelagos.operators import from_pretrained

EARLIER = Path(__file__).parents[2] / "earlier"
CHECKPOINTS = {
    name: str(EARLIER / "checkpoints" / name) for name in ("dymixop", "multiscale", "observer")
}
DATA = {name: str(EARLIER / "datasets" / name) for name in ("burgers_1d", "burgers_2d")}
HERE = "http://localhost"
SERVED = Served(CHECKPOINTS, DATA, limits=Limits(megabytes=4.0, seconds=600.0))
SAMPLE = {"dataset": "burgers_1d", "trajectory": 1}


@pytest.fixture(scope="module")
def client():
    """The application, with a real process that works for it."""
    with TestClient(serving.application(SERVED), base_url=HERE) as found:
        yield found


@pytest.fixture(scope="module")
def shelf():
    return Shelf(SERVED)


@pytest.fixture
def asked(shelf, tmp_path_factory):
    """Status and content of the answer to a task, without a server."""

    def ask(name: str, body: Any, **query: Any) -> tuple[int, Any]:
        path = tmp_path_factory.mktemp("request") / "request.body"
        path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        head, content = done(shelf, Task(name, query, str(path)))
        return head["status"], json.loads(content) if "json" in head["type"] else content

    return ask


def frames(given: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(given["float32"]), "<f4").reshape(given["shape"])


def zipped(*entries: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return file.getvalue()


def netcdf(data: xarray.Dataset, folder: Path) -> bytes:
    data.to_netcdf(folder / "made.nc", engine="h5netcdf")
    return (folder / "made.nc").read_bytes()


def expected(steps: int) -> tuple[xarray.Dataset, np.ndarray]:
    """The given frames of the sample, and what the operator itself predicts from them."""
    store = open_store(DATA["burgers_1d"], "test")
    given = store.trajectory(1)[:2].numpy()
    predicted = from_pretrained(CHECKPOINTS["dymixop"]).predict(given, steps=steps)
    x, t = store.grid.coordinates()[0].numpy(), store.trajectory_times(1)[:2]
    return xarray.Dataset({"u": (("time", "x"), given[:, 0])}, {"x": x, "time": t}), predicted[:, 0]


# ---------------------------------------------------------------- answers


def test_what_is_served_is_told(client):
    found = {c["name"]: c for c in client.get("/api/checkpoints").json()["checkpoints"]}
    assert set(found) == set(CHECKPOINTS)
    assert found["dymixop"]["fields"] == ["u"]
    assert found["dymixop"]["grid"]["shape"] == [32]
    assert found["observer"]["assimilates"]
    assert not found["dymixop"]["assimilates"]
    told = client.get("/api/checkpoint", params={"name": "dymixop"}).json()
    assert told["provenance"]["datasets"] == ["burgers_1d"]
    assert client.get("/api/checkpoint", params={"name": "nothing"}).status_code == 404
    data = {d["name"]: d for d in client.get("/api/datasets").json()["datasets"]}
    assert (data["burgers_1d"]["trajectories"], data["burgers_1d"]["frames"]) == (2, 11)
    assert data["burgers_1d"]["steady"] is False


def test_a_sample_is_predicted_as_by_the_operator_itself(client):
    _, predicted = expected(9)
    body = {"checkpoint": "dymixop", "sample": SAMPLE}
    found = client.post("/api/predict", json=body).json()
    np.testing.assert_allclose(found["fields"]["u"], predicted, rtol=1e-6)
    assert found["lead_times"] == pytest.approx([0.02 * k for k in range(1, 10)])
    assert found["verdict"]["status"] in ("inside", "outside", "unknown")
    assert "truth" not in found


def test_it_is_compared_with_what_is_stored(asked):
    wanted = {"compare": True, "encoding": "base64"}
    status, found = asked(
        "predict",
        {
            "checkpoint": "dymixop",
            "sample": SAMPLE | {"frame": 3},
            "forecast": {"steps": 9},
            "answer": wanted,
        },
    )
    assert status == 200
    stored = open_store(DATA["burgers_1d"], "test").trajectory(1)[:, 0].numpy()
    truth = frames(found["truth"]["u"])
    np.testing.assert_array_equal(truth[:7], stored[4:])
    assert np.isnan(truth[7:]).all()
    np.testing.assert_array_equal(frames(found["given"]["u"]), stored[2:4])
    predicted, scores = frames(found["fields"]["u"]), found["scores"]["u"]["vrmse"]
    error = np.sqrt(((predicted[0] - stored[4]) ** 2).mean()) / stored[4].std()
    assert scores[0] == pytest.approx(error, rel=1e-5)
    assert scores[7:] == [None, None]
    energy = np.abs(np.fft.fft(predicted[2]) / 32) ** 2
    assert found["spectra"]["u"]["prediction"][2][1] == pytest.approx(2 * energy[1], rel=1e-4)
    assert found["spectra"]["u"]["truth"][8] is None


def test_an_ensemble_is_given_by_its_mean_and_spread(asked):
    start = {"checkpoint": "multiscale", "sample": {"dataset": "burgers_2d"}}
    forecast = {"members": 3, "steps": 2}
    _, members = asked("predict", {**start, "forecast": forecast})
    assert members["dims"] == ["member", "time", "x", "y"]
    values = np.array(members["fields"]["velocity_x"])
    assert values.shape == (3, 2, 16, 16)
    _, found = asked("predict", {**start, "forecast": forecast, "answer": {"compare": True}})
    np.testing.assert_allclose(found["fields"]["velocity_x"], values.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["spread"]["velocity_x"], values.std(0, ddof=1), atol=1e-6)


@pytest.mark.parametrize("encoding", ["lists", "base64"])
def test_fields_of_ones_own(asked, encoding):
    data, predicted = expected(3)
    values: Any = data["u"].values
    if encoding == "base64":
        raw = base64.b64encode(values.astype("<f4").tobytes()).decode()
        values = {"shape": [2, 32], "float32": raw}
    else:
        values = values.tolist()
    body = {"checkpoint": "dymixop", "fields": {"u": values}, "forecast": {"steps": 3}}
    status, found = asked("predict", body)
    assert status == 200
    np.testing.assert_allclose(found["fields"]["u"], predicted, rtol=1e-5, atol=1e-6)


def test_a_drawn_start_has_no_truth(asked):
    data, _ = expected(1)
    drawn = (data["u"].values + 0.1).tolist()
    body = {"checkpoint": "dymixop", "sample": SAMPLE, "fields": {"u": drawn}}
    wanted = {"forecast": {"steps": 3}, "answer": {"compare": True}}
    status, found = asked("predict", body | wanted)
    assert status == 200
    assert found["truth"] == {}
    np.testing.assert_allclose(found["given"]["u"], drawn, rtol=1e-6)
    other = from_pretrained(CHECKPOINTS["dymixop"]).predict(np.float32(drawn)[:, None], steps=3)[
        :, 0
    ]
    np.testing.assert_allclose(found["fields"]["u"], other, rtol=1e-5, atol=1e-6)


def test_a_file_is_predicted_from_in_any_layout(asked, tmp_path):
    data, predicted = expected(2)
    query = {"checkpoint": "dymixop", "forecast": {"steps": 2}}
    pytest.importorskip("zarr")
    data.to_zarr(tmp_path / "made.zarr", zarr_format=2, consolidated=False)
    entries = [
        (f"made.zarr/{path.relative_to(tmp_path / 'made.zarr').as_posix()}", path.read_bytes())
        for path in sorted((tmp_path / "made.zarr").rglob("*"))
        if path.is_file()
    ]
    data.to_netcdf(tmp_path / "classic.nc", engine="scipy")
    for body in (netcdf(data, tmp_path), zipped(*entries), (tmp_path / "classic.nc").read_bytes()):
        status, found = asked("predict file", body, **query)
        assert status == 200
        np.testing.assert_allclose(found["fields"]["u"], predicted, rtol=1e-5, atol=1e-6)
    stored = next(Path(DATA["burgers_1d"], "data", "test").iterdir()).read_bytes()
    status, found = asked("predict file", stored, sample=1, **query)
    assert status == 200
    assert found["dims"] == ["time", "x"]


def test_members_of_a_file_are_samples_and_no_ensemble(asked, tmp_path):
    data, predicted = expected(2)
    both = xarray.concat([data, data], "member").assign_coords(
        member=("member", [0, 1], {"standard_name": "realization"})
    )
    query = {"checkpoint": "dymixop", "forecast": {"steps": 2}, "answer": {"compare": True}}
    _, found = asked("predict file", netcdf(both, tmp_path), **query)
    assert found["dims"] == ["member", "time", "x"]
    np.testing.assert_allclose(found["fields"]["u"], [predicted] * 2, rtol=1e-5, atol=1e-6)
    assert "spread" not in found


@pytest.mark.parametrize(
    ("task", "body", "said"),
    [
        (
            "predict",
            {"checkpoint": "dymixop", "sample": {"dataset": "burgers_2d"}},
            "dymixop takes u, and the data have velocity_x, velocity_y",
        ),
        (
            "predict",
            {"checkpoint": "dymixop", "sample": SAMPLE, "forecast": {"steps": 0}},
            "steps must be at least 1; got 0",
        ),
        (
            "assimilate",
            {
                "checkpoint": "observer",
                "sample": {"dataset": "burgers_1d"},
                "observations": [{"time": 0.02, "x": 7.0, "field": "u", "value": 1.0}],
            },
            "line 2: x = 7 lies outside the domain [0, 1]; line 2 is the first of the observations",
        ),
    ],
)
def test_what_a_request_cannot_have_is_said_as_it_can_be_mended(asked, task, body, said):
    assert asked(task, body) == (400, {"error": said})


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_answers_as_files(client, tmp_path, kind):
    _, predicted = expected(4)
    body = {"checkpoint": "dymixop", "sample": SAMPLE, "forecast": {"steps": 4}}
    found = client.post("/api/predict", json=body | {"answer": {"format": kind}})
    assert found.status_code == 200
    if kind == "netcdf":
        (tmp_path / "a.nc").write_bytes(found.content)
        data = xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf")
    else:
        pytest.importorskip("zarr")
        zipfile.ZipFile(io.BytesIO(found.content)).extractall(tmp_path)
        data = xarray.open_zarr(tmp_path / "prediction.zarr", consolidated=False)
    with data:
        np.testing.assert_allclose(data["u"].values, predicted, rtol=1e-6)
        assert "verdict" in data.attrs


def test_sensors_bring_an_estimate_near_the_truth(asked):
    body = {
        "checkpoint": "observer",
        "sample": {"dataset": "burgers_1d"},
        "cold": True,
        "forecast": 2,
        "answer": {"compare": True},
    }
    places = [[k / 16] for k in range(16)]
    _, few = asked("assimilate", body | {"network": {"positions": places[:1], "noise": 0.01}})
    status, many = asked("assimilate", body | {"network": {"positions": places, "noise": 0.01}})
    assert status == 200
    assert many["measured"] == [16] * 10 + [0] * 2
    assert many["scores"]["u"]["vrmse"][9] < 0.5 * few["scores"]["u"]["vrmse"][9]
    readings = [{"time": 0.02, "x": 0.3, "field": "u", "value": 1.0, "std": 0.1}]
    own = {"checkpoint": "observer", "observations": readings, "forecast": 1}
    status, found = asked("assimilate", own | {"parameters": {"viscosity": 0.01}})
    assert status == 200
    assert found["measured"] == [1, 0]


def test_pages_need_nothing_from_elsewhere(client):
    for address in ("/", "/docs", *(f"/assets/{name}" for name in serving.ASSETS)):
        found = client.get(address)
        assert found.status_code == 200
        assert "default-src 'none'" in found.headers["content-security-policy"]
        text = found.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
    paths = client.get("/openapi.json").json()["paths"]
    keys = paths["/api/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(keys["properties"]) >= {"checkpoint", "sample", "fields", "forecast"}
    assert "sample.trajectory" in client.get("/docs").text


# ---------------------------------------------------------------- refusals


def test_hostile_bodies_are_refused_in_a_line(asked, tmp_path):
    whole = netcdf(expected(1)[0], tmp_path)
    file = {"checkpoint": "dymixop", "forecast": {"steps": 1}}
    cases = [
        ("predict", b"[" * 100_000, {}, "levels deep"),
        ("predict", b"{", {}, ""),
        ("predict", {"checkpoint": "dymixo"}, {}, "did you mean 'dymixop'"),
        ("predict", {"checkpoint": "dymixop", "sampel": 1}, {}, "did you mean 'sample'"),
        ("predict", {"checkpoint": "../dymixop"}, {}, "is served"),
        ("predict", {"checkpoint": "dymixop", "fields": {"u": [float("nan")]}}, {}, "finite"),
        ("predict", {"checkpoint": "dymixop", "fields": {"u": [[1], [1, 2]]}}, {}, "equal lengths"),
        ("predict", {"checkpoint": "dymixop", "fields": {"u": ["a"]}}, {}, "numbers"),
        ("predict", {"checkpoint": "dymixop", "fields": {"u": [1.0]}}, {}, "box"),
        ("predict", {"checkpoint": "dymixop", "fields": {"v": [1.0]}}, {}, "takes u"),
        ("predict file", whole[: len(whole) // 2], file, "damaged"),
        ("predict file", b"", file, "neither"),
        ("predict file", zipped(("../../out", b"x")), file, "leads out"),
        ("predict file", zipped(("/out", b"x")), file, "leads out"),
        ("predict file", zipped(("a/b", b"x"))[:60], file, "damaged"),
        ("assimilate", {"checkpoint": "dymixop"}, {}, "cannot assimilate"),
    ]
    for task, body, query, text in cases:
        status, found = asked(task, body, **query)
        assert 400 <= status < 500, found
        assert set(found) == {"error"}
        assert text in found["error"]
        assert "\n" not in found["error"]
        assert "request0" not in found["error"]  # no path of this machine
        assert "/tmp" not in found["error"]


def test_too_much_is_refused_before_it_is_computed(asked):
    body = {"checkpoint": "dymixop", "sample": SAMPLE}
    for forecast in ({"steps": 10**9}, {"times": [1e300]}, {"steps": 10, "members": 10**6}):
        status, _ = asked("predict", body | {"forecast": forecast})
        assert status == 413


def test_a_zip_file_unpacks_to_what_it_may_alone(tmp_path):
    bomb = tmp_path / "bomb.zip"
    bomb.write_bytes(zipped(("zeros", bytes(2**20))))
    lying = bytearray(bomb.read_bytes())
    place = lying.rfind(b"PK\x01\x02") + 24  # the size in the directory
    lying[place : place + 4] = (100).to_bytes(4, "little")
    for k, content in enumerate((bomb.read_bytes(), bytes(lying))):
        bomb.write_bytes(content)
        with pytest.raises(ValueError, match="zip file"):
            unpack(bomb, tmp_path / str(k), 2**18)
    with pytest.raises(TooLarge):
        _many_files(tmp_path)


def _many_files(folder: Path) -> None:
    path = folder / "many.zip"
    path.write_bytes(zipped(*((str(k), b"") for k in range(20_001))))
    unpack(path, folder / "many", 2**18)


def test_links_in_an_upload_are_not_followed(tmp_path):
    secret = tmp_path / "secret.h5"
    with xarray.Dataset({"u": (("time", "x"), np.full((2, 32), 1234.5))}) as data:
        data.to_netcdf(secret, engine="h5netcdf")
    import h5py

    upload = tmp_path / "own" / "request.body"
    upload.parent.mkdir()
    with h5py.File(upload, "w") as file:
        file["u"] = h5py.ExternalLink(str(secret), "u")
    with pytest.raises(ValueError, match="u"):
        opened(upload, ("u",), 10_000)


def test_what_is_not_ours_is_refused(client):
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        found = client.post("/api/predict", content=b"{}", headers=headers)
        assert found.status_code == 403
    assert client.get("/assets/app.py").status_code == 404
    assert client.get("/api/nothing").json()["error"].startswith("Not Found")
    assert client.post("/api/predict/file?checkpoint=dymixop&steps=0").status_code == 422
    assert client.post("/api/predict/file?checkpoint=dymixop&what=0").status_code == 422


def test_a_body_is_bounded_whatever_it_declares(client):
    declared = client.post("/api/predict", content=b"{}", headers={"Content-Length": str(10**10)})
    assert declared.status_code == 413
    streamed = client.post("/api/predict", content=(bytes(2**20) for _ in range(6)))
    assert streamed.status_code == 413
    assert client.get("/api/health").json()["status"] == "ok"


# ---------------------------------------------------------------- staying up


class Slow(Pool):
    """A pool whose answers take until they are let go, without processes."""

    def __init__(self, served: Served) -> None:
        super().__init__(served)
        self.go = threading.Event()
        for worker in self.workers:
            worker.start = lambda: None
            worker.ask = self.answered

    def answered(self, task: dict[str, Any]) -> tuple[Head, bytes]:
        self.go.wait(30)
        return Head(200, "application/json", ""), b"{}"


def test_beyond_the_queue_requests_are_told_to_come_back(monkeypatch):
    pools: list[Slow] = []

    def make(served: Served) -> Slow:
        pools.append(Slow(served))
        return pools[0]

    monkeypatch.setattr(serving, "Pool", make)
    served = Served({}, {}, limits=Limits(workers=1, waiting=4))
    client = TestClient(serving.application(served), base_url=HERE)
    with client as slow, ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(slow.post, "/api/predict", content=b"{}") for _ in range(20)]
        while sum(found.done() for found in asked) < 15:
            threading.Event().wait(0.01)
        assert slow.get("/api/health").json()["requests"] == 5
        pools[0].go.set()
        found = [each.result() for each in asked]
    assert Counter(each.status_code for each in found) == {200: 5, 503: 15}
    assert {each.headers["Retry-After"] for each in found if each.status_code == 503} == {"1"}


def test_two_hundred_requests_at_once():
    import uvicorn

    app = serving.application(Served(CHECKPOINTS, DATA, limits=Limits(waiting=20, seconds=600.0)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        threading.Event().wait(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    body = json.dumps({"checkpoint": "dymixop", "sample": SAMPLE, "forecast": {"steps": 1}})

    def ask(_: int) -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("POST", "/api/predict", body)
        status = connection.getresponse().status
        connection.close()
        return status

    with ThreadPoolExecutor(200) as threads:
        found = Counter(threads.map(ask, range(200)))
    assert set(found) <= {200, 503}
    assert found[200] >= 21  # a worker's and those that wait
    assert ask(0) == 200
    server.should_exit = True
    thread.join()


class Gone:
    """A pipe whose other end has closed while it worked."""

    def send_bytes(self, content: bytes) -> None:
        pass

    def poll(self, seconds: float) -> bool:
        return True

    def recv_bytes(self) -> bytes:
        raise EOFError

    def close(self) -> None:
        pass


def test_a_worker_that_ends_or_is_too_slow_is_replaced():
    pool = Pool(Served(CHECKPOINTS, DATA, limits=Limits(seconds=600.0)))
    worker = pool.workers[0]
    task = {"name": "datasets", "query": {}, "body": ""}
    assert worker.ask(task)[0].status == 200
    worker.process.kill()
    worker.process.join()
    assert worker.ask(task)[0].status == 200  # by another process
    worker.pipe.close()
    worker.pipe = Gone()
    with pytest.raises(ValueError, match="has ended"):
        worker.ask(task)
    assert worker.process is None
    assert worker.ask(task)[0].status == 200
    object.__setattr__(worker.served.limits, "seconds", 0.1)
    os.kill(worker.process.pid, signal.SIGSTOP)
    with pytest.raises(ValueError, match="takes longer"):
        worker.ask(task)
    assert worker.process is None
    pool.close()


def test_names_are_the_last_parts_of_places():
    places = ["runs/a", "other/a", "pelagos:small", "runs/a"]
    assert named(places) == {"a": "runs/a", "a-2": "other/a", "pelagos:small": "pelagos:small"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["runs/nothing"], "no checkpoint directory"),
        ([CHECKPOINTS["dymixop"], "--data", "nowhere"], "nowhere"),
        ([CHECKPOINTS["dymixop"], "--port", "99999"], "--port"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(words, text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert text in said
    assert len(said.strip().splitlines()) == 1


def test_numbers_of_threads_are_left_alone():
    before = torch.get_num_threads()
    done(Shelf(SERVED), Task("datasets", {}))
    assert torch.get_num_threads() == before
