"""What a campaign works on: data, runs, checkpoints; and the commands that make such things."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from children import command
from layout_files import FILES

from pelagos.datasets.base.manifest import write_manifest
from pelagos.datasets.fields.normalization import Statistics
from pelagos.operators import Description, create

RECIPE: dict[str, Any] = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 2, "layers": 1, "modes": 2},
    "objective": {"horizon": 1},
    "steps": 6,
    "batch": 2,
    "micro_batch": 2,
    "log_every": 1,
    "save_every": 2,
    "validation": {"every": 6, "trajectories": 1, "horizon": 1},
}
KEPT: dict[str, Any] = {  # all that a run can keep
    "validation": {"every": 2, "trajectories": 1, "horizon": 1},
    "average": {"decay": 0.9},
    "publish": "average",
    "on_nonfinite": "rewind",
    "early_stopping": {"patience": 2, "min_delta": 10.0},
    "steps": 10,
}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": RECIPE,
    "kept": {**RECIPE, **KEPT},
    "workers": {**RECIPE, "workers": 1},
    "ranks": {**RECIPE, **KEPT, "micro_batch": 1, "states": {"sharded": True}},
    "background": {**RECIPE, **KEPT, "states": {"background": True}},
    "lora": {**RECIPE, "method": {"name": "lora", "rank": 1}},
}
CONTAINERS = (
    "the well",
    "poseidon-wave",
    *(f"described-{kind}" for kind in ("hdf5", "netcdf", "matlab", "zarr3", "zarr2")),
)
OBSERVATIONS = "time,x,field,value,std\n" + "".join(
    f"{0.1 * i:.1f},0.{i % 10},u,{0.3 * i:.2f},0.1\n" for i in range(1, 20)
)
SIMULATE = ("data", "simulate", "advection_1d", "--resolution", "48", "--frames", "4")
SIMULATE += ("--train", "3", "--valid", "1", "--test", "1", "--shard", "1")
WAVE = "../made/data/advection_1d"


@dataclass(frozen=True)
class Task:
    """A command that writes something.

    Attributes:
        argv: of `pelagos`, in a folder of its own beside `made`.
        processes: that share it.
        continues: whether the same command goes on where it was killed; otherwise, what is there
            already is refused.
    """

    argv: tuple[str, ...]
    processes: int = 1
    continues: bool = True


def _once(*argv: str) -> Task:
    return Task(argv, continues=False)


def _train(recipe: str, processes: int = 1) -> Task:
    verb = "finetune" if recipe == "lora" else "pretrain"
    start = ("--init-from", "../made/model") if recipe == "lora" else ()
    return Task((verb, f"../made/{recipe}.yaml", "run", "--resume", "auto", *start), processes)


TASKS: dict[str, Task] = {
    "simulate": Task((*SIMULATE, "--out", ".")),
    "convert": Task(("data", "convert", WAVE, "converted", "--shard", "1")),
    "rechunk": Task(("data", "rechunk", WAVE, "rechunked", "--compression", "lzf")),
    "describe": _once("data", "describe", "../made/described-netcdf", "--out", "described.yaml"),
    "pretrain": _train("plain"),
    "pretrain, all kept": _train("kept"),
    "pretrain, a worker": _train("workers"),
    "pretrain, saving meanwhile": _train("background"),
    "pretrain, two processes": _train("ranks", 2),
    "finetune": _train("lora"),
    "predict": _once("predict", "../made/whole", WAVE, "--out", "prediction.nc"),
    "evaluate": _once("evaluate", "../made/whole", WAVE, "--out", "evaluation.json"),
    "report": _once("report", "../made/whole", "--out", "report.html"),
    "assimilate": _once(
        *("assimilate", "../made/observer", "../made/seen.csv", "--history", WAVE, "--cold"),
        *("--out", "found.nc"),
    ),
    "adapter export": _once("adapter", "export", "../made/adapted", "adapter"),
    "adapter merge": _once(
        *("adapter", "merge", "../made/adapter", "merged", "--base", "../made/model"),
    ),
    "publish": _once("publish", "../made/whole", "--to", ".", "--name", "mine"),
    "export": _once("export", "../made/model", "exported"),
    "import": _once("import", "../made/exported", "imported", "--fields", "u"),
}


@dataclass
class Made:
    """A folder with all of it; `expected` is found when it is asked for first."""

    folder: Path
    known: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def made(self) -> Path:
        return self.folder / "made"

    @property
    def data(self) -> Path:
        return self.made / "data" / "advection_1d"

    @property
    def whole(self) -> Path:
        """A finished run."""
        return self.made / "whole"

    def place(self, name: str) -> Path:
        """An empty folder for a case."""
        path = self.folder / name.replace(" ", "-").replace(",", "")
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def expected(self, task: str) -> dict[str, str]:
        """What a task makes that nobody interrupts: the files that it makes alike each time."""
        path = self.folder / "expected" / f"{task}.json"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            first, second = (run_whole(self, task, f"whole {task} {k}") for k in (1, 2))
            assert first.keys() == second.keys(), (task, first.keys() ^ second.keys())
            found = {name: first[name] if first[name] == second[name] else "" for name in first}
            path.write_text(json.dumps(found))
        return json.loads(path.read_text())


def run_whole(made: Made, task: str, name: str) -> dict[str, str]:
    """Run a task in an empty folder."""
    place = made.place(name)
    for child in started(place, TASKS[task]):
        ended = child.wait()
        assert ended.status == 0, (task, ended)
    found = contents(place)
    shutil.rmtree(place)
    return found


def started(place: Path, task: Task, before: Callable[[int], Any] = lambda _: None) -> list[Any]:
    """The processes of a task, which run in a folder; `before` is told which one it is in."""
    children, port = [], 20_000 + os.getpid() % 10_000
    words = place.with_name(f"{place.name}-words")
    words.mkdir(exist_ok=True)
    for rank in range(task.processes):
        environment = {"XDG_CACHE_HOME": str(place.parent / "cache")}
        if task.processes > 1:
            environment |= {
                **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
                **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(task.processes)),
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            }
        child = command(
            words / str(rank),
            task.argv,
            before=lambda rank=rank: before(rank),
            environment=environment,
            folder=place,
        )
        children.append(child)
    return children


def contents(place: Path) -> dict[str, str]:
    """The SHA-256 of all files below a folder, but of those which say who worked there and when."""
    return {
        str(path.relative_to(place)): _digest(path)
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.parent.name != "jobs" and path.name != "run_id"
    }


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if path.name == "log.jsonl":
        records = [json.loads(line) for line in data.decode().splitlines()]
        kept = [_without_times(r) for r in records if r["kind"] not in ("speed", "recipe")]
        data = json.dumps(kept).encode()
    if path.name == "progress.json":
        data = json.dumps(_without_times(json.loads(data))).encode()
    if path.name == "SHA256SUMS" and "state" in path.parts:
        return ""  # of a file with times in it
    if path.parent.name == "shards":  # their writer puts its own words in any order
        size = 8 + int.from_bytes(data[:8], "little")
        data = json.dumps(json.loads(data[8:size]), sort_keys=True).encode() + data[size:]
    return hashlib.sha256(data).hexdigest()


def _without_times(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in ("seconds", "run", "log")}


def make(folder: Path) -> Made:
    """All of it; what is there already stays."""
    made = Made(folder)
    if (folder / "complete").is_file():
        return made
    shutil.rmtree(made.made, ignore_errors=True)
    made.made.mkdir(parents=True)
    _run(made, (*SIMULATE, "--out", "data"))
    for name, recipe in RECIPES.items():
        text = yaml.safe_dump({"data": [{"path": WAVE}], **recipe})
        (made.made / f"{name}.yaml").write_text(text)
    _run(made, ("pretrain", "kept.yaml", "whole"))
    small = {"hidden": 2, "layers": 1, "modes": 2}
    scales = Statistics({"*": {"u": 0.5}}, {"*": {"u": 0.7}})
    known = Description(("u",), normalizer=scales, time_steps=(0.1,), time_scale=0.1)
    create("dymixop", fields=("u",), ndim=1, history=2, **small).save_pretrained(
        made.made / "model"
    )
    observer = create(
        "observer", description=known, ndim=1, correction={"modes": 4, "hidden": 2}, **small
    )
    observer.save_pretrained(made.made / "observer")
    (made.made / "seen.csv").write_text(OBSERVATIONS)
    _run(made, ("finetune", "lora.yaml", "adapted", "--init-from", "model"))
    _run(made, ("adapter", "export", "adapted", "adapter"))
    _run(made, ("export", "model", "exported"))
    _run(made, ("evaluate", "whole", WAVE, "--out", "evaluation.json"))
    for name in CONTAINERS:
        (made.made / name).mkdir()
        FILES[name](made.made / name)
        write_manifest(made.made / name)
    (folder / "complete").touch()
    return made


def _run(made: Made, argv: tuple[str, ...]) -> None:
    ended = command(made.folder / "words", argv, folder=made.made).wait()
    assert ended.status == 0, (argv, ended)
