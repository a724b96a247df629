"""Training: exact resume, refusals before any work, and what a run leaves behind."""

import errno
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import h5py
import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from processes import Launched
from safetensors.torch import load_file, save_file

from pelagos.datasets.base.config import read
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import create, from_pretrained
from pelagos.pretrain import batches
from pelagos.pretrain.command import main
from pelagos.pretrain.job import Job
from pelagos.pretrain.objectives.rollout import Rollout
from pelagos.pretrain.optimizer import build_optimizer, schedule
from pelagos.pretrain.recipe import OptimizerConfig, TrainRecipe
from pelagos.pretrain.run import state as resume
from pelagos.pretrain.run.history import rewind
from pelagos.pretrain.run.jobs import held
from pelagos.pretrain.run.state import latest
from pelagos.pretrain.run.stop import REQUEUE, SIGNALS

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 6, "layers": 2, "modes": 4},
    "objective": {"horizon": 2},
    "optimizer": {"learning_rate": 1e-3},
    "steps": 12,
    "batch": 4,
    "micro_batch": 2,
    "log_every": 2,
    "save_every": 4,
    "validation": {"every": 6, "trajectories": 2, "horizon": 4},
}
FAMILIES = ("advection_1d", "burgers_1d")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for family in FAMILIES:
        simulate(
            family,
            root,
            trajectories={"train": 4, "valid": 2, "test": 2},
            resolution=48,
            frames=9,
            dt=0.02,
            parameters={"viscosity": 0.05} if family == "burgers_1d" else {},
        )
    return root


@pytest.fixture
def recipe(data, tmp_path):
    def write(**changes):
        values = {
            "data": [{"path": str(data / name), "augment": ["roll"]} for name in FAMILIES],
            **RECIPE,
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


def launch(processes, *arguments):
    return Launched("-m", "pelagos.pretrain", *arguments, processes=processes)


def records(run, kind="train"):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in lines if r["kind"] == kind]


def weights(run):
    return (run / "checkpoint" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    """A run of one process from start to end."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "recipe.yaml"
    values = {
        "data": [{"path": str(data / name), "augment": ["roll"]} for name in FAMILIES],
        **RECIPE,
    }
    path.write_text(yaml.safe_dump(values))
    launch(1, path, folder / "run").finish()
    return folder / "run"


def test_a_run_leaves_all_that_is_promised(uninterrupted, data):
    names = sorted(path.name for path in uninterrupted.iterdir())
    expected = ["best", "checkpoint", "data.json", "jobs", "log.jsonl", "recipe.yaml"]
    assert names == [*expected, "run_id", "state"]
    assert [r["step"] for r in records(uninterrupted)] == [2, 4, 6, 8, 10, 12]
    valid = records(uninterrupted, "valid")
    assert [(r["step"], r["dataset"]) for r in valid] == [
        (step, name) for step in (0, 6, 12) for name in FAMILIES
    ]
    operator = from_pretrained(uninterrupted / "checkpoint")
    assert operator.description.fields == ("u",)
    assert operator.description.time_steps == pytest.approx((0.02,), rel=1e-4)
    assert operator.description.provenance["datasets"] == list(FAMILIES)
    # The stored recipe is complete, and makes the same run again.
    stored = read(TrainRecipe, uninterrupted / "recipe.yaml")
    assert stored.micro_batches == 2
    assert stored.optimizer.betas == (0.9, 0.999)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_resumed_is_bit_equal(processes, uninterrupted, recipe, tmp_path):
    """Kill −9 in the middle, then go on — with another number of processes."""
    run = tmp_path / "run"
    job = launch(1, recipe(), run)
    job.until(lambda: list(run.glob("state/step-*")))
    job.kill()
    assert not (run / "checkpoint").exists(), "the kill came too late to mean anything"
    launch(processes, recipe(), run, "--resume", "auto").finish()
    assert weights(run) == weights(uninterrupted)
    # Losses of two processes are averaged in another order: the last bit of a log line may differ.
    for a, b in zip(records(run), records(uninterrupted), strict=True):
        assert a.pop("kind") == b.pop("kind")
        assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.slow
def test_two_processes_from_the_start_are_bit_equal_to_one(uninterrupted, recipe, tmp_path):
    """By torchrun itself, as users start it; other tests have its agent alone."""
    words = ["--standalone", "--nproc_per_node=2", "-m", "pelagos.pretrain", recipe()]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, tmp_path / "run", "--processes=2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "2 process(es) on cpu" in done.stdout
    assert weights(tmp_path / "run") == weights(uninterrupted)


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_saves_and_stops(workers, uninterrupted, recipe, tmp_path):
    """Told to all processes of the job, as torchrun and schedulers do."""
    run = tmp_path / "run"
    path = recipe(save_every=1000, workers=workers)
    job = launch(1, path, run)
    log = run / "log.jsonl"
    job.until(lambda: log.exists() and '"train"' in log.read_text())
    os.killpg(job.pid, signal.SIGTERM)
    output = job.wait(120)
    assert job.returncode == REQUEUE, output
    assert len(list(run.glob("state/step-*"))) == 1
    launch(1, recipe(save_every=1000), run, "--resume", "auto").finish()
    assert weights(run) == weights(uninterrupted)


def test_a_data_loading_process_hears_no_signal_before_it_can_heed_it(
    recipe, tmp_path, monkeypatch
):
    def begin(worker):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) >= set(SIGNALS)
        (tmp_path / f"{worker}").touch()

    monkeypatch.setattr(batches, "_leave_with_the_trainer", begin)
    main([str(recipe(workers=1)), str(tmp_path / "run"), "--steps", "1"])
    assert (tmp_path / "0").exists()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(SIGNALS)


def test_a_finished_run_is_left_alone(uninterrupted, capsys):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    main([str(uninterrupted / "recipe.yaml"), str(uninterrupted), "--resume", "auto"])
    assert "finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before


class TestRefusals:
    """Each before any work is done: no run directory appears."""

    def refuse(self, match, arguments, run):
        existed = run.exists()
        with pytest.raises(ValueError, match=match):
            main([*map(str, arguments)])
        assert run.exists() == existed

    def test_existing_run(self, uninterrupted, recipe):
        self.refuse("exists; choose another directory", [recipe(), uninterrupted], uninterrupted)

    def test_another_recipe(self, uninterrupted, recipe):
        arguments = [recipe(), uninterrupted, "--resume", "auto", "--optimizer.weight-decay", "1"]
        match = r"another recipe: optimizer\.weight_decay was 0\.0001, now 1\.0"
        self.refuse(match, arguments, uninterrupted)

    def test_a_directory_with_something_else(self, recipe, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("keep")
        self.refuse("is no run directory", [recipe(), tmp_path / "mine"], tmp_path / "mine")

    def test_a_folder_that_cannot_be_written(self, recipe, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        for option in ((), ("--dry-run",)):
            arguments = [recipe(), tmp_path / "file" / "run", *option]
            self.refuse("file is a file, not a folder", arguments, tmp_path / "file" / "run")
        monkeypatch.setattr(os, "access", lambda *_: False)
        self.refuse("no permission to write into", [recipe(), tmp_path / "run"], tmp_path / "run")

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"stesp": 3}, "unknown key 'stesp'; did you mean 'steps'"),
            ({"optimizer": {"learning_rte": 1}}, "did you mean 'optimizer.learning_rate'"),
            ({"optimizer": {"learning_rate": "fast"}}, "optimizer.learning_rate"),
            ({"operator": {"name": "dymixop", "hiden": 3}}, "did you mean 'hidden'"),
            ({"operator": {"name": "dymixup"}}, "did you mean 'dymixop'"),
            ({"operator": {"hidden": 3}}, "operator needs a name"),
            ({"batch": 5}, r"batch \(5\) must be a multiple of micro_batch \(2\)"),
            ({"save_every": 3}, r"save_every \(3\) must be a multiple of log_every"),
            ({"objective": {"loss": "vmse"}}, "did you mean 'vrmse'"),
            ({"normalizer": {"name": "windows"}}, "did you mean 'window'"),
            ({"objective": {"horizon": 50}}, "has 9; shorten the window"),
            ({"operator": {**RECIPE["operator"], "history": 1}}, "needs at least 2 history frames"),
            ({"fields": ["v"]}, "has no field v; it has u"),
            ({"data": []}, "at least one dataset"),
            ({"optimizer": {"betas": [1.5, 2.0]}}, r"betas\[0\] must lie in \[0, 1\)"),
            ({"optimizer": {"weight_decay": -1.0}}, "weight_decay must not be negative"),
            ({"workers": -1}, "workers must not be negative"),
            ({"seed": -1}, r"seed must be in \[0, 2⁶³\)"),
            ({"data": [{"path": "nowhere"}]}, "nowhere"),
        ],
    )
    def test_recipe(self, changes, match, recipe, tmp_path):
        self.refuse(match, [recipe(**changes), tmp_path / "run"], tmp_path / "run")

    def test_override(self, recipe, tmp_path):
        arguments = [recipe(), tmp_path / "run", "--optimizer.clipp", "2"]
        self.refuse(r"did you mean 'optimizer\.clip'", arguments, tmp_path / "run")

    def test_number_of_processes(self, recipe, tmp_path):
        arguments = [recipe(), tmp_path / "run", "--processes", "2"]
        self.refuse(r"1 process\(es\) take part, not 2", arguments, tmp_path / "run")

    def test_mismatched_dimensions(self, data, recipe, tmp_path):
        flat = simulate(
            "heat_2d", tmp_path, trajectories={"train": 1, "valid": 1}, resolution=32, frames=5
        )
        paths = [{"path": str(flat)}, {"path": str(data / "advection_1d")}]
        arguments = [recipe(data=paths), tmp_path / "run"]
        self.refuse("must share their dimension", arguments, tmp_path / "run")


def test_a_date_is_a_seed(recipe, tmp_path):
    main([recipe(steps=2, seed=20261124), str(tmp_path / "run")])
    assert records(tmp_path / "run")[-1]["step"] == 2


@pytest.fixture
def stopped(uninterrupted, recipe, tmp_path):
    """A run that was killed after its last save: its last state and how to go on."""
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    shutil.rmtree(run / "checkpoint")
    return latest(run), [recipe(), str(run), "--resume", "auto"]


@pytest.fixture
def alone(stopped):
    """The same as an earlier version left it: one state, without checksums."""
    state, arguments = stopped
    for other in state.parent.iterdir():
        if other != state:
            shutil.rmtree(other)
    for path in (state / "SHA256SUMS", state / "operator" / "SHA256SUMS"):
        path.unlink()
    progress = json.loads((state / "progress.json").read_text())
    (state / "progress.json").write_text(json.dumps({**progress, "data": False}))
    return state, arguments


class TestDamagedStates:
    def test_a_missing_weight_is_named(self, alone):
        state, arguments = alone
        path = state / "operator" / "model.safetensors"
        tensors = load_file(path)
        del tensors["gate"]
        save_file(tensors, path)
        with pytest.raises(ValueError, match="missing gate"):
            main(arguments)

    def test_a_missing_moment_is_named(self, alone):
        state, arguments = alone
        tensors = load_file(state / "optimizer.safetensors")
        del tensors["lift.weight/exp_avg"]
        save_file(tensors, state / "optimizer.safetensors")
        with pytest.raises(ValueError, match=r"lift\.weight/exp_avg; remove .* to start over"):
            main(arguments)

    def test_truncated_moments(self, alone):
        state, arguments = alone
        path = state / "optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ValueError, match=r"optimizer\.safetensors is damaged"):
            main(arguments)

    @pytest.mark.parametrize("text", ["{", '{"step": 1, "other": 2}', '{"step": "x"}'])
    def test_damaged_progress(self, alone, text):
        state, arguments = alone
        (state / "progress.json").write_text(text)
        with pytest.raises(ValueError, match=r"progress\.json is damaged .* to start over"):
            main(arguments)

    @pytest.mark.parametrize(
        "file", ["operator/model.safetensors", "operator/config.json", "progress.json"]
    )
    def test_a_changed_bit_is_named_and_the_state_before_is_used(
        self, file, stopped, uninterrupted, capsys
    ):
        state, arguments = stopped
        run, data = state.parent.parent, bytearray((state / file).read_bytes())
        data[-3] ^= 1
        (state / file).write_bytes(data)
        main(arguments)
        said = capsys.readouterr().out
        assert f"warning: {state / file} is damaged" in said
        assert f"going on from {state.with_name('step-00000008')}" in said
        assert weights(run) == weights(uninterrupted)
        assert len([*state.parent.glob("damaged-step-00000012-*")]) == 1

    def test_lost_checksums_are_damage(self, stopped, capsys):
        state, arguments = stopped
        (state / "SHA256SUMS").unlink()
        main(arguments)
        said = capsys.readouterr().out
        assert f"SHA256SUMS is missing; going on from {state.with_name('step-00000008')}" in said

    def test_without_an_intact_state_nothing_is_done(self, stopped):
        state, arguments = stopped
        for each in (state, state.with_name("step-00000008")):
            (each / "optimizer.safetensors").unlink()
        before = sorted(path.name for path in state.parent.iterdir())
        with pytest.raises(ValueError, match=r"optimizer\.safetensors is missing.*to start over"):
            main(arguments)
        assert sorted(path.name for path in state.parent.iterdir()) == before

    def test_a_state_of_another_run_is_refused(self, alone):
        state, arguments = alone
        progress = json.loads((state / "progress.json").read_text())
        (state / "progress.json").write_text(json.dumps({**progress, "run": "0123"}))
        with pytest.raises(ValueError, match="belongs to another run"):
            main(arguments)

    def test_another_step_than_the_folder_says_is_refused(self, alone):
        state, arguments = alone
        state.rename(state.with_name("step-00000010"))
        with pytest.raises(ValueError, match=r"progress\.json is damaged \(it says step 12\)"):
            main(arguments)

    def test_a_lost_log_is_refused_unless_it_is_wanted_so(self, stopped):
        state, arguments = stopped
        (state.parent.parent / "log.jsonl").unlink()
        with pytest.raises(ValueError, match=r"log\.jsonl is missing or empty, and"):
            main(arguments)
        main([*arguments, "--no-verify"])

    def test_a_changed_log_is_refused_unless_it_is_wanted_so(self, stopped):
        state, arguments = stopped
        log = state.parent.parent / "log.jsonl"
        text = log.read_text()
        log.write_text(text.replace('"step": 4,', '"step": 3,', 1))
        with pytest.raises(ValueError, match=r"log\.jsonl is damaged: it does not begin"):
            main(arguments)
        main([*arguments, "--no-verify"])

    @pytest.mark.parametrize("end", ['{"kind": "tra', '{"kind": "train", "step": 13}\n'])
    def test_what_the_log_had_after_the_state_may_be_anything(self, stopped, uninterrupted, end):
        state, arguments = stopped
        log = state.parent.parent / "log.jsonl"
        log.write_text(log.read_text() + end)
        main(arguments)
        assert weights(state.parent.parent) == weights(uninterrupted)

    def test_strangers_in_the_state_folder_are_left_alone(self, stopped):
        state, arguments = stopped
        (state.parent / ".DS_Store").write_text("")
        (state.parent / "step-old").mkdir()
        (state.parent / ".step-00000004.99").mkdir()
        assert latest(state.parent.parent) == state
        main(arguments)
        assert (state.parent / "step-old").is_dir()


def test_two_jobs_cannot_train_in_one_run(stopped):
    state, arguments = stopped
    with (
        held(state.parent.parent),
        pytest.raises(ValueError, match="another process is training"),
    ):
        main(arguments)
    main(arguments)


def test_the_loss_is_a_mean_also_where_logging_becomes_rarer(
    uninterrupted, recipe, tmp_path, monkeypatch
):
    """12 steps; after 4 of them it goes on with one line for the rest."""
    save, run = resume.save_state, tmp_path / "run"

    def saved(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(resume, "save_state", saved)
    with pytest.raises(KeyboardInterrupt):
        main([recipe(), str(run)])
    monkeypatch.undo()
    AcceleratorState._reset_state(reset_partial_state=True)
    rarer = {"log_every": 12, "save_every": 12, "validation": {**RECIPE["validation"], "every": 12}}
    main([recipe(**rarer), str(run), "--resume", "auto"])
    expected = [record["loss"] for record in records(uninterrupted)[2:]]
    assert records(run)[-1]["loss"] == pytest.approx(sum(expected) / 4, rel=1e-4)


def test_states_that_differ_between_machines_are_refused(stopped, monkeypatch):
    def gathered(self, step):
        return torch.cat((step, torch.tensor([-1])))

    monkeypatch.setattr(Accelerator, "gather", gathered)
    with pytest.raises(ValueError, match=r"\(none, step 12\); it must lie on a disk that all"):
        main(stopped[1])


def test_trying_out_teaches_nothing(recipe, tmp_path):
    """Batch norms count the batches that they have seen; all lead times of a window are trained."""
    operator = {"name": "multiscale", "width": 8, "depths": [1], "heads": [1], "skips": [1]}
    changes = {
        "operator": {**operator, "residual_block": "resnet", "window": 4},
        "normalizer": {"name": "statistics"},
        "validation": {"every": 2, "horizon": 2},
        "steps": 2,
    }
    main([recipe(**changes), str(tmp_path / "run")])
    trained = from_pretrained(tmp_path / "run" / "checkpoint")
    counts = [v for name, v in trained.named_buffers() if name.endswith("num_batches_tracked")]
    assert [int(count) for count in counts] == [2 * 2] * 2
    assert trained.description.time_steps == pytest.approx((0.02, 0.04))


def test_a_disk_without_links_is_trained_on(stopped, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "link", without)
    main(stopped[1])


def test_a_draft_of_a_failed_start_is_no_run(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml").write_text("data: [")
    main([recipe(steps=2), str(tmp_path / "run")])
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "best",
        "checkpoint",
        "data.json",
        "jobs",
        "log.jsonl",
        "recipe.yaml",
        "run_id",
        "state",
    ]


def test_a_gradient_that_is_not_finite_does_not_replace_the_last_state(
    recipe, tmp_path, monkeypatch
):
    run, steps = tmp_path / "run", []

    def poisoned(self, parameters, limit):
        steps.append(0)
        return torch.tensor(math.nan if len(steps) == 8 else 1.0)

    monkeypatch.setattr("accelerate.Accelerator.clip_grad_norm_", poisoned)
    with pytest.raises(ValueError, match=r"gradient norm is nan at step 8; .*step-00000004"):
        main([recipe(), str(run)])
    assert latest(run).name == "step-00000004"


def test_a_full_disk_leaves_no_debris(recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def full(path, tensors):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pelagos.pretrain.run.state.write_tensors", full)
    with pytest.raises(ValueError, match="disk is full"):
        main([recipe(), str(run)])
    assert not list((run / "state").iterdir())


def test_dry_run_writes_nothing(recipe, tmp_path, capsys):
    main([recipe(), str(tmp_path / "run"), "--dry-run"])
    assert "trainable parameters on advection_1d, burgers_1d" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_dry_run_says_what_the_job_would_take(recipe, tmp_path, capsys):
    main([recipe(), str(tmp_path / "run"), "--dry-run", "--price", "3600"])
    out = capsys.readouterr().out
    assert re.search(r"memory of a process, measured in small: [\d.]+ [MG]B of the host", out)
    assert re.search(r"loading gives [\d,]+ windows/s, the model takes [\d,]+: \w+", out)
    assert re.search(r"a micro-batch has \d[\d,]+ operations on the device", out)
    hours, cost = re.search(r"(\S+) process-hours, which cost (\S+) at 3600", out).groups()
    assert float(cost) == pytest.approx(3600 * float(hours), rel=0.1, abs=0.01)


def test_a_dry_run_fails_before_it_says_what_would_be_trained(
    recipe, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Rollout, "loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(ValueError, match="the loss of the first steps is not finite; lower"):
        main([recipe(), str(tmp_path / "run"), "--dry-run"])
    assert "trainable parameters" not in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_price_is_of_a_dry_run(recipe, tmp_path):
    with pytest.raises(ValueError, match="--price is what a dry run computes with"):
        main([recipe(), str(tmp_path / "run"), "--price", "1"])


def test_nan_in_data_is_named(data, recipe, tmp_path):
    copy = tmp_path / "advection_1d"
    for source in (data / "advection_1d").rglob("*"):
        target = copy / source.relative_to(data / "advection_1d")
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    [file] = (copy / "data" / "train").iterdir()
    with h5py.File(file, "r+") as h5:
        h5["t0_fields/u"][2, 5, 7] = float("nan")
    arguments = [recipe(data=[{"path": str(copy)}]), str(tmp_path / "run")]
    with pytest.raises(ValueError, match=rf"{file.name}.*trajectory 2.*u"):
        main(arguments)


def test_a_loss_that_is_not_finite_stops_with_the_remedy(recipe, tmp_path):
    arguments = ["--optimizer.learning-rate", "1e18", "--optimizer.warmup", "0"]
    with pytest.raises(
        ValueError, match=r"the (loss|gradient norm) is (nan|inf).* at step \d+; .*learning_rate"
    ):
        main([recipe(), str(tmp_path / "run"), *arguments])


def test_a_batch_that_is_not_finite_is_named_and_kept(data, recipe, tmp_path, monkeypatch):
    """The fifth micro-batch, in the third step, of which nothing is seen before the log line."""
    loss, seen = Rollout.loss, []

    def poisoned(self, model, window, normalizer, seed):
        seen.append(window)
        return loss(self, model, window, normalizer, seed) * (math.nan if len(seen) == 5 else 1.0)

    monkeypatch.setattr(Rollout, "loss", poisoned)
    match = (
        r"the loss is nan at step 3; its windows are (burgers|advection)_1d: .*hdf5, trajectory "
    )
    with pytest.raises(ValueError, match=match):
        main([recipe(log_every=4, validation={"every": 8}), str(tmp_path / "run")])
    [kept] = (tmp_path / "run").glob("nonfinite-step-00000003-batch-4.safetensors")
    assert torch.equal(load_file(kept)["history"], seen[4].history)


def test_a_step_that_is_not_finite_can_be_skipped(recipe, tmp_path, monkeypatch):
    loss, seen = Rollout.loss, []

    def poisoned(self, model, window, normalizer, seed):
        seen.append(window)
        return loss(self, model, window, normalizer, seed) * (math.nan if len(seen) == 5 else 1.0)

    monkeypatch.setattr(Rollout, "loss", poisoned)
    main([recipe(on_nonfinite="skip", keep=2), str(tmp_path / "run")])
    [skipped] = records(tmp_path / "run", "skipped")
    assert skipped["step"] == 3
    assert all(math.isfinite(r["loss"]) for r in records(tmp_path / "run"))
    states = sorted(path.name for path in (tmp_path / "run" / "state").iterdir())
    assert states == ["step-00000008", "step-00000012"]


def test_states_that_a_kill_kept_from_being_removed_are_removed(stopped):
    state, arguments = stopped
    for step in (1, 2):  # killed after its last save, before the removal of the ones before
        shutil.copytree(state, state.with_name(f"step-{step:08d}"))
    before = sorted(path.name for path in state.parent.iterdir())
    main(arguments)
    assert sorted(path.name for path in state.parent.iterdir()) == before[2:]


def test_a_resumed_run_may_change_what_is_ahead(stopped):
    state, arguments = stopped
    main([*arguments, "--steps", "14", "--optimizer.learning-rate", "2e-3"])
    run = state.parent.parent
    assert records(run)[-1]["step"] == 14
    changes = [record["change"] for record in records(run, "recipe")]
    assert changes == ["optimizer.learning_rate was 0.001, now 0.002", "steps was 12, now 14"]


def test_training_in_a_thread(recipe, tmp_path):
    """Where Python has no signal handlers."""
    failed = []

    def work():
        try:
            main([recipe(steps=2), str(tmp_path / "run")])
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    assert (tmp_path / "run" / "checkpoint").is_dir()


def test_a_validation_that_was_stopped_is_made_up_for(uninterrupted, recipe, tmp_path, monkeypatch):
    """The state is saved before, also at the end; a run that is resumed logs the same."""
    run, asked = tmp_path / "run", []

    def told(self):
        asked.append(0)
        return len(records(run)) == 6  # after the last step

    monkeypatch.setattr(Job, "stops", told)
    with pytest.raises(SystemExit) as stopped:
        main([recipe(), str(run)])
    assert stopped.value.code == REQUEUE
    assert latest(run).name == "step-00000012"
    assert not (run / "checkpoint").exists()
    monkeypatch.undo()
    AcceleratorState._reset_state(reset_partial_state=True)
    main([recipe(), str(run), "--resume", "auto"])
    assert weights(run) == weights(uninterrupted)
    assert records(run, "valid") == records(uninterrupted, "valid")


def test_bf16_trains(recipe, tmp_path):
    main([recipe(steps=4), str(tmp_path / "run"), "--precision", "bf16"])
    assert all(
        p.dtype == torch.float32 for p in from_pretrained(tmp_path / "run/checkpoint").parameters()
    )
    assert records(tmp_path / "run")[-1]["step"] == 4


def test_statistics_travel_in_the_checkpoint(recipe, tmp_path):
    main([recipe(steps=2, normalizer={"name": "statistics"}), str(tmp_path / "run")])
    normalizer = from_pretrained(tmp_path / "run/checkpoint").description.normalizer
    assert set(normalizer.mean) == {*FAMILIES, "*"}


def test_wandb_offline(recipe, tmp_path, monkeypatch):
    for name in ("WANDB_SILENT", "WANDB_DISABLE_GIT", "WANDB_DISABLE_CODE"):
        monkeypatch.setenv(name, "true")
    launch(1, recipe(steps=2, wandb="offline"), tmp_path / "run").finish()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert records(tmp_path / "run")[-1]["step"] == 2


def test_schedule_warms_up_and_decays():
    config = OptimizerConfig(warmup=0.1, final=0.05)
    factors = [schedule(step, 100, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == pytest.approx(1.0)
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert factors[-1] == pytest.approx(0.05, abs=0.01)


def test_parameter_groups():
    operator = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=2, modes=2)
    optimizer = build_optimizer(
        operator, OptimizerConfig(learning_rate=1e-3, weight_decay=0.1), {"lift": 5e-3}
    )
    names = {parameter: name for name, parameter in operator.named_parameters()}
    found = {
        names[p]: (g["peak"], g["weight_decay"])
        for g in optimizer.param_groups
        for p in g["params"]
    }
    assert set(found) == set(dict(operator.named_parameters()))
    assert found["lift.weight"] == (5e-3, 0.1)
    assert found["lift.bias"] == (5e-3, 0.0)
    assert found["unlift.weight"] == (1e-3, 0.1)
    assert found["gate"] == (1e-3, 0.0)
    with pytest.raises(ValueError, match="no module or parameter nothing"):
        build_optimizer(operator, OptimizerConfig(), {"nothing": 1.0})


def test_rewind_drops_later_and_broken_lines(tmp_path):
    lines = ['{"kind": "train", "step": 2}', '{"kind": "train", "step": 4}', '{"kind": "tra']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    rewind(tmp_path, 2)
    assert (tmp_path / "log.jsonl").read_text() == lines[0] + "\n"
