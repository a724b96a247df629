"""Simulated datasets: contents, seeds, interruption, refusals."""

import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace

import jaxtyping
import numpy as np
import pytest
import torch
import yaml
from processes import Launched

from pelagos.datasets import equations, open_store
from pelagos.datasets.base.appearing import is_draft
from pelagos.datasets.base.spreading import Share, Spread
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.layouts.well_reader import WellFile
from pelagos.datasets.simulation import simulate
from pelagos.datasets.simulation import trajectories as solving
from pelagos.datasets.simulation.resolved import resolve
from pelagos.datasets.simulation.settings import Settings

SMALL = {
    "trajectories": {"train": 5, "valid": 2},
    "resolution": 32,
    "frames": 4,
    "shard": 2,
}
MODES = "burgers_1d"


def run(out, equation=MODES, **changes):
    return simulate.simulate(equation, out, **{**SMALL, **changes})


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def read(root, split="train"):
    files = sorted((root / "data" / split).glob("*.hdf5"))
    opened = [WellFile(file) for file in files]
    frames = [
        file.read(i, slice(None), range(len(file.header.fields)))
        for file in opened
        for i in range(len(file))
    ]
    return np.stack(frames), np.concatenate([file.header.parameters for file in opened]), opened[0]


def test_a_dataset_holds_the_solutions_of_the_equation(tmp_path):
    root = run(tmp_path, dt=0.02)
    assert root == tmp_path / MODES
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == [
        "SHA256SUMS",
        "data/train/burgers_1d_0000.hdf5",
        "data/train/burgers_1d_0001.hdf5",
        "data/train/burgers_1d_0002.hdf5",
        "data/valid/burgers_1d_0000.hdf5",
        "simulation.yaml",
        "stats.yaml",
    ]
    solved, parameters, file = read(root)
    assert solved.shape == (5, 4, 1, 32)
    np.testing.assert_allclose(file.header.times, [0.0, 0.02, 0.04, 0.06])
    assert file.header.grid.lengths == (1.0,)
    assert file.header.grid.boundary == ("periodic",)
    assert file.header.units == {"u": "1", "time": "1", "length": "1", "viscosity": "1"}
    equation = equations.get(MODES)
    generator = trajectory_generator(0, MODES, "train", 3)
    viscosity = equation.parameters["viscosity"].draw(generator)
    assert parameters[3] == pytest.approx([viscosity], rel=1e-6)
    initial = equation.initial(generator, file.header.grid)[None]
    known = {"viscosity": torch.tensor([viscosity], dtype=torch.float64)}
    solution = frames(equation, Problem(initial, known, file.header.grid, 0.02))
    expected = torch.cat([next(solution) for _ in range(4)]).numpy()
    np.testing.assert_allclose(solved[3], expected, atol=1e-6)


def test_a_dataset_opens_as_a_store(tmp_path):
    store = open_store(run(tmp_path, "burgers_2d", resolution=(16, 18)))
    assert store.fields == ("velocity_x", "velocity_y")
    assert len(store) == 7
    assert store.trajectory(0).shape == (4, 2, 16, 18)
    assert store.parameter_names == ("viscosity",)


def test_provenance_says_how_a_file_was_made(tmp_path):
    root = run(tmp_path, parameters={"viscosity": 0.01}, seed=3)
    made = WellFile(root / "data" / "train" / "burgers_1d_0001.hdf5").header.provenance
    assert made["equation"] == MODES
    assert made["parameters"] == {"viscosity": [0.01, 0.01]}
    assert (made["seed"], made["split"], made["first_trajectory"]) == (3, "train", 2)
    assert made["solver"].startswith("ETDRK4")
    assert made["step"] == pytest.approx(0.002)
    assert made["dtype"] == "float64"
    assert made["version"]


def test_fixed_parameters_are_shared_and_drawn_ones_are_not(tmp_path):
    root = run(
        tmp_path,
        "kolmogorov_2d",
        trajectories={"train": 2},
        frames=2,
        dt=0.05,
        parameters={"viscosity": (0.1, 0.2)},
        resolution=26,
    )
    _, parameters, file = read(root)
    assert file.header.parameter_names == ("viscosity", "drag", "forcing")
    assert (parameters[:, 1:] == [0.1, 1.0]).all()
    assert 0.1 <= parameters[0, 0] <= 0.2
    assert parameters[0, 0] != parameters[1, 0]


def test_equal_recipes_give_equal_bytes_and_other_seeds_do_not(tmp_path):
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    assert digests(first) == digests(again)
    other, _, _ = read(run(tmp_path / "c", seed=1))
    assert not np.allclose(other, read(first)[0], atol=0.1)


def test_trajectories_do_not_depend_on_shards_or_counts(tmp_path, monkeypatch):
    reference, parameters, _ = read(run(tmp_path / "a"))
    trajectories = {"train": 3, "valid": 4, "test": 1}
    frames, others, _ = read(run(tmp_path / "b", shard=3, trajectories=trajectories))
    np.testing.assert_allclose(frames, reference[:3], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(others, parameters[:3])
    monkeypatch.setattr(solving, "CHUNK", 32)  # one trajectory at a time
    frames, _, _ = read(run(tmp_path / "c"))
    np.testing.assert_allclose(frames, reference, rtol=1e-6, atol=1e-6)


def test_splits_differ(tmp_path):
    root = run(tmp_path, trajectories={"train": 2, "valid": 2, "test": 2})
    states = np.concatenate([read(root, split)[0][:, 0] for split in ("train", "valid", "test")])
    distance = np.abs(states[:, None] - states[None]).max((2, 3)) + np.eye(6)
    assert distance.min() > 0.1


def test_an_interrupted_simulation_continues_to_the_same_bytes(tmp_path, monkeypatch):
    whole = digests(run(tmp_path / "whole"))
    write = simulate.write_file

    def fail_at_the_third(path, data):
        if path.name.endswith("_0002.hdf5"):
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "write_file", fail_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "part")
    root = tmp_path / "part" / MODES
    assert not (root / "stats.yaml").exists()
    with pytest.raises(ValueError, match="incomplete"):
        open_store(root)
    finished = (root / "data" / "train" / "burgers_1d_0000.hdf5").stat().st_mtime_ns
    assert digests(run(tmp_path / "part")) == whole
    assert (root / "data" / "train" / "burgers_1d_0000.hdf5").stat().st_mtime_ns == finished


def test_a_killed_simulation_continues_to_the_same_bytes(tmp_path):
    """SIGKILL when the second file is written but has not got its name."""
    code = f"""
import os, pathlib, signal
from pelagos.datasets.simulation.simulate import simulate
rename, count = pathlib.Path.replace, 0
def replace(self, target):
    global count
    count += str(target).endswith(".hdf5")
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
pathlib.Path.replace = replace
simulate({MODES!r}, pathlib.Path({str(tmp_path / "part")!r}), **{SMALL!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    root = tmp_path / "part" / MODES
    draft, finished = sorted((root / "data" / "train").iterdir())
    assert is_draft(draft, root / "data" / "train" / "burgers_1d_0001.hdf5")
    assert finished.name == "burgers_1d_0000.hdf5"
    assert digests(run(tmp_path / "part")) == digests(run(tmp_path / "whole"))


def test_a_finished_dataset_is_left_as_it_is(tmp_path, monkeypatch):
    root = run(tmp_path)
    before = digests(root)
    monkeypatch.setattr(solving, "_solve", lambda *_: pytest.fail("simulated again"))
    assert run(tmp_path) == root
    assert digests(root) == before


def test_a_missing_shard_is_made_again(tmp_path):
    root = run(tmp_path)
    before = digests(root)
    (root / "data" / "train" / "burgers_1d_0001.hdf5").unlink()
    assert digests(run(tmp_path)) == before


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("seed", {"seed": 1}),
        ("resolution", {"resolution": 48}),
        ("parameters", {"parameters": {"viscosity": 0.02}}),
        ("trajectories", {"trajectories": {"train": 6}}),
        ("dtype", {"dtype": "float32"}),
        ("solver_step", {"solver_step": 1e-3}),
    ],
)
def test_another_recipe_is_refused_unless_overwritten(tmp_path, key, changes):
    before = digests(run(tmp_path))
    with pytest.raises(ValueError, match=rf"simulated with {key} .*--overwrite.*overwrite=True"):
        run(tmp_path, **changes)
    assert digests(tmp_path / MODES) == before
    root = run(tmp_path, overwrite=True, **changes)
    assert digests(root) == digests(run(tmp_path / "fresh", **changes))


def test_another_name_makes_another_dataset(tmp_path):
    run(tmp_path)
    root = run(tmp_path, name="thick", parameters={"viscosity": 0.1})
    assert root == tmp_path / "thick"
    assert (root / "data" / "train" / "thick_0000.hdf5").exists()
    assert WellFile(root / "data" / "train" / "thick_0000.hdf5").header.name == "thick"


def test_a_foreign_folder_is_refused(tmp_path):
    mine = tmp_path / MODES
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="no simulated dataset"):
            run(tmp_path, overwrite=overwrite)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(ValueError, match="is a file"):
        run(tmp_path / "file")
    with pytest.raises(ValueError, match="no simulated dataset"):
        run(tmp_path, name="file")
    assert (tmp_path / "file").read_text() == "keep"


def test_a_start_that_was_killed_is_no_foreign_folder(tmp_path):
    (tmp_path / MODES).mkdir()
    (tmp_path / MODES / ".simulation.yaml.partial").write_text("half")
    assert digests(run(tmp_path)) == digests(run(tmp_path / "fresh"))


def test_a_damaged_recipe_is_refused(tmp_path):
    (run(tmp_path) / "simulation.yaml").write_text("[")
    with pytest.raises(ValueError, match=r"simulation\.yaml is damaged"):
        run(tmp_path)


@pytest.fixture
def as_users_call():
    """Without the types of arguments that only tests check."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"equation": "heat"}, "unknown equation"),
        ({"trajectories": {"train": 2, "validation": 1}}, "did you mean 'valid'"),
        ({"trajectories": {"train": 0}}, "at least 1 for train"),
        ({"trajectories": {}}, "at least 1 for train"),
        ({"trajectories": {"train": 2, "test": -1}}, "at least 0"),
        ({"resolution": (32, 32)}, "one entry per axis"),
        ({"resolution": 0}, "positive and whole"),
        ({"resolution": 8}, "resolution must exceed"),
        ({"lengths": -1.0}, "lengths must be positive"),
        ({"frames": 1}, "frames must be at least 2"),
        ({"shard": 0}, "shard and subsample must be at least 1"),
        ({"subsample": 0}, "shard and subsample must be at least 1"),
        ({"on_blowup": "redrawn"}, "did you mean 'redraw'"),
        ({"equation": "heat_1d", "solver_step": 0.1}, r"no solver_step to set \(its steps: exact"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"dt": float("nan")}, "dt must be positive"),
        ({"solver_step": -1e-3}, "solver_step must be positive"),
        ({"solver_step": 0.0}, "solver_step must be positive"),
        ({"warm_up": -1.0}, "warm_up must be finite and at least 0"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"device": "abacus"}, "on device abacus"),
        ({"name": "../elsewhere"}, "plain file name"),
        ({"parameters": {"viscosity": -1.0}}, "at least 0"),
    ],
)
@pytest.mark.usefixtures("as_users_call")
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        run(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("equation", "settings", "typed", "subsample"),
    [
        ("allen_cahn_2d", {"resolution": 32}, "exceed 36 points .*subsample 2: 72.* got 32", 3),
        ("allen_cahn_1d", {"resolution": 48}, "exceed 48 points per axis to hold .* got 48", 2),
        ("burgers_2d", {"resolution": (5, 8)}, "exceed 12 points per axis to hold .* got 5,8", 3),
        ("burgers_steep_2d", {"resolution": 3}, "exceed 3 points .*subsample 4: 12.* got 3", 5),
        ("brusselator_response_3d", {"resolution": 12}, "exceed 12 points per axis .* got 12", 2),
    ],
)
def test_a_resolution_that_is_too_coarse_is_named_as_it_was_typed(
    tmp_path, equation, settings, typed, subsample
):
    few = {"trajectories": {"train": 1}, "frames": None, "shard": 1, **settings}
    with pytest.raises(ValueError, match=typed) as caught:
        run(tmp_path, equation, **few)
    assert list(tmp_path.iterdir()) == []
    assert f"--subsample {subsample})" in str(caught.value)
    resolve(equation, Settings(**few, subsample=subsample))  # the remedies work
    least = int(re.search(r"Use (\d+) or more", str(caught.value)).group(1))
    resolve(equation, Settings(**{**few, "resolution": least}))


def test_a_blow_up_is_named_and_not_written(tmp_path):
    changes = {"dt": 0.5, "frames": 8, "parameters": {"viscosity": 0.0}}
    with pytest.raises(ValueError, match=r"trajectory \d of train blew up by time .*viscosity 0\)"):
        run(tmp_path, solver_step=0.5, **changes)
    assert list(tmp_path.rglob("*.hdf5")) == []
    assert (run(tmp_path, solver_step=0.01, **changes) / "stats.yaml").exists()  # the remedy


@dataclass(frozen=True, kw_only=True)
class Growth(equations.Equation):
    """u_t = rate · u + c(x), exactly; what grows past 1 breaks this solver down."""

    def march(self, problem):
        return Growing(problem, self.broadcast(problem.parameters)["rate"])


class Growing:
    """A solution of `Growth`."""

    def __init__(self, problem, rate):
        self.problem, self.rate, self.frames = problem, rate, itertools.count()

    def advance(self, interval):
        t = next(self.frames)
        state = self.problem.initial * torch.exp(self.rate * t * self.problem.dt)
        state = state + self.problem.constants * t * self.problem.dt
        peaks = state.abs().flatten(1).amax(1)
        bad = {i: f"passed 1 at frame {t}" for i, peak in enumerate(peaks) if peak > 1}
        if bad:
            raise equations.BlowUp(bad)
        return state


GROWTH = Growth(
    name="growth_1d",
    title="Growth",
    formula="u_t = a u + c(x)",
    fields=("u",),
    constant_fields=("source",),
    lengths=(2.0,),
    resolution=(8,),
    boundary=("wall",),
    cell_centred=True,
    dt=0.1,
    frames=4,
    initial=lambda generator, grid: grid.coordinates()[0][None] / 20,
    constants=lambda generator, grid: torch.rand(1, *grid.shape, generator=generator).double(),
    parameters={"rate": equations.Parameter(0.0, 18.0, "growth rate a", maximum=20.0)},
    solver="closed form",
    step_control="one step per frame",
    units={"source": "1/s", "time": "s"},
)


def grow(out, **changes):
    return run(out, GROWTH, **{"resolution": 8, **changes})


def test_constant_fields_walls_and_cell_centres_are_stored(tmp_path):
    store = open_store(grow(tmp_path, parameters={"rate": (0.0, 1.0)}))
    assert (store.constant_fields, store.grid.boundary) == (("source",), ("wall",))
    assert store.grid.origin == (0.125,)
    assert store.units["source"] == "1/s"
    frames, source = store.trajectory(3), store.constants(3)
    rate = store.parameters(3)
    x = store.grid.coordinates()[0].float()
    torch.testing.assert_close(frames[2, 0], x / 20 * torch.exp(0.2 * rate) + 0.2 * source[0])
    assert not torch.equal(store.constants(2), source)
    assert store.provenance["solver"] == "closed form"
    assert store.provenance["step"] == "one step per frame"


def test_a_solver_says_which_trajectory_it_could_not_solve(tmp_path):
    with pytest.raises(
        ValueError, match=r"growth_1d: trajectory \d of train passed 1 at frame \d "
    ):
        grow(tmp_path)
    assert list(tmp_path.rglob("*.hdf5")) == []


def test_trajectories_that_blow_up_are_drawn_again_and_recorded(tmp_path):
    counts = {"train": 12, "valid": 3}
    root = grow(tmp_path / "a", on_blowup="redraw", trajectories=counts)
    assert digests(grow(tmp_path / "b", on_blowup="redraw", trajectories=counts)) == digests(root)
    made = [WellFile(file) for file in sorted(root.rglob("*.hdf5"))]
    redrawn = {}
    for file in made:
        if file.path.parent.name == "train":
            redrawn.update(file.header.provenance.get("redrawn", {}))
    assert 1 <= len(redrawn) < 12
    frames, rates, _ = read(root)
    assert np.abs(frames).max() <= 1
    for i in range(12):  # the first of its draws that can be solved, from its own random numbers
        generator = trajectory_generator(0, "growth_1d", "train", i)
        draws = [GROWTH.draw(generator, GROWTH.grid()) for _ in range(redrawn.get(str(i), 0) + 1)]
        assert rates[i, 0] == pytest.approx(draws[-1].parameters["rate"], rel=1e-6)
        for earlier in draws[:-1]:
            assert earlier.parameters["rate"] > 5
    assert yaml.safe_load((root / "simulation.yaml").read_text())["on_blowup"] == "redraw"


def test_redrawing_ends(tmp_path):
    with pytest.raises(ValueError, match=r"passed 1 at frame 2 .*also after 20 redraws"):
        grow(tmp_path, on_blowup="redraw", parameters={"rate": 20.0})


def test_fields_are_stored_on_a_coarser_grid_than_they_are_solved_on(tmp_path):
    coarse, _, file = read(run(tmp_path / "a", subsample=3))
    fine, _, _ = read(run(tmp_path / "b", resolution=96))
    assert file.header.grid.shape == (32,)
    np.testing.assert_array_equal(coarse, fine[..., ::3])
    with pytest.raises(ValueError, match="simulated with subsample 3, not 1"):
        run(tmp_path / "a")
    cells, _, file = read(grow(tmp_path / "c", parameters={"rate": 1.0}, subsample=2))
    parts, _, _ = read(grow(tmp_path / "d", parameters={"rate": 1.0}, resolution=16))
    assert file.header.grid.origin == (0.125,)
    np.testing.assert_allclose(cells, parts.reshape(*parts.shape[:-1], 8, 2).mean(-1), rtol=1e-6)


def test_a_warm_up_comes_before_the_first_frame(tmp_path):
    early, _, _ = read(run(tmp_path / "a", dt=0.02, frames=6))
    late, _, file = read(run(tmp_path / "b", dt=0.02, warm_up=0.04))
    np.testing.assert_allclose(late, early[:, 2:], atol=1e-6)
    assert file.header.times[0] == 0
    assert file.header.provenance["warm_up"] == 0.04


def test_a_steady_equation_gives_one_frame_and_has_no_time_to_set(tmp_path):
    steady = replace(GROWTH, name="steady_1d", steady=True, frames=1)
    changes = {"parameters": {"rate": 1.0}, "frames": None, "resolution": 8}
    store = open_store(run(tmp_path, steady, **changes))
    assert store.trajectory(0).shape == (1, 1, 8)
    assert store.constants(0).shape == (1, 8)
    for key, value in (("frames", 2), ("dt", 0.1), ("warm_up", 1.0), ("solver_step", 0.1)):
        with pytest.raises(ValueError, match=f"steady_1d is steady and has no {key}"):
            run(tmp_path / "no", steady, **{**changes, key: value})


def test_a_trajectory_that_grows_without_overflow_has_blown_up_too(tmp_path):
    heat = equations.get("heat_1d")
    growing = replace(heat, name="growth_1d", linear=lambda s, p: 20 * (s.k2 > 0).to(s.k2))
    with pytest.raises(ValueError, match=r"growth_1d: trajectory 0 of train blew up by time 0\.48"):
        run(tmp_path, growing, dt=0.04, frames=100)


def test_an_equation_of_ones_own_needs_no_registration(tmp_path):
    heat = equations.get("heat_1d")
    own = replace(heat, name="fourth_order_1d", linear=lambda s, p: -p["diffusivity"] * s.k2**2)
    root = run(tmp_path, own, parameters={"diffusivity": 1e-4})
    assert yaml.safe_load((root / "simulation.yaml").read_text())["equation"] == "fourth_order_1d"


def test_single_precision_is_close_to_double(tmp_path):
    double, _, _ = read(run(tmp_path / "a"))
    single, _, _ = read(run(tmp_path / "b", dtype="float32"))
    np.testing.assert_allclose(single, double, atol=1e-5)
    assert not np.array_equal(single, double)


def test_progress_is_shown_on_stderr_only_when_asked(tmp_path, capsys):
    run(tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    run(tmp_path / "shown", spread=Spread(progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 1 <= len(lines) <= 10  # a quick task says only how it ended
    assert lines[-1].startswith("burgers_1d: 7/7 trajectories")


def test_the_number_of_threads_changes_no_bytes_and_is_left_alone(tmp_path):
    before = torch.get_num_threads()
    try:
        found = set()
        for threads in (1, 3):
            torch.set_num_threads(threads)
            root = run(tmp_path / str(threads), "navier_stokes_2d", resolution=96, dt=0.05)
            found.add(tuple(digests(root).items()))
            with pytest.raises(ValueError, match="blew up"):
                run(tmp_path / f"bad{threads}", "navier_stokes_2d", dt=5.0, solver_step=5.0)
            assert torch.get_num_threads() == threads
        assert len(found) == 1
    finally:
        torch.set_num_threads(before)


def test_parts_solved_side_by_side_stop_together(tmp_path, monkeypatch):
    beside, stopped = threading.Event(), []

    def solve(run, part, out, advance):
        if part.start == 0:
            beside.wait(20)
            raise ValueError("blew up")
        beside.set()
        try:
            for _ in range(20000):
                advance(0.0)
                time.sleep(1e-3)
        except CancelledError:
            stopped.append(part.start)
            raise
        return [{}] * part.count

    monkeypatch.setattr(solving, "_solve", solve)
    monkeypatch.setattr(solving, "CHUNK", 32)  # one trajectory at a time
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="blew up"):
            run(tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert stopped == [1]


SPREADING = {"trajectories": {"train": 4, "valid": 1, "test": 1}, "shard": 2, "frames": 3}


def test_any_number_of_processes_makes_the_same_files(tmp_path):
    run(tmp_path / "one", "burgers_1d", **SPREADING)
    run(tmp_path / "two", "burgers_1d", **SPREADING, spread=Spread(workers=2))
    for index in (1, 0, 2):  # the last one finds all there
        assert not list((tmp_path / "shares").glob("*/stats.yaml"))
        share = Spread(share=Share(index, 3))
        run(tmp_path / "shares", "burgers_1d", **SPREADING, spread=share)
    expected = digests(tmp_path / "one")
    assert expected
    assert digests(tmp_path / "two") == expected
    assert digests(tmp_path / "shares") == expected
    with pytest.raises(ValueError, match="cannot be replaced by 3 processes at once"):
        run(tmp_path / "shares", "burgers_1d", **SPREADING, overwrite=True, spread=share)


def test_ctrl_c_ends_all_processes_and_leaves_nothing_half_written(tmp_path):
    script = f"""
from pelagos.finetune.cli.console import main
if __name__ == "__main__":
    main("data simulate burgers_1d --train 4000 --shard 100 --resolution 64 --workers 2 "
         "--out {tmp_path}".split())
"""
    (tmp_path / "run.py").write_text(script)
    job = Launched(tmp_path / "run.py")
    job.until(lambda: [*(tmp_path / "burgers_1d").glob("data/train/*")])  # a process has begun
    os.kill(job.pid, signal.SIGINT)
    told = job.wait()
    assert job.returncode == 130
    assert told.splitlines()[-1] == "pelagos: interrupted"
    assert "Traceback" not in told
    assert not [path for path in tmp_path.rglob("*") if ".partial" in path.name]
    assert len([*tmp_path.rglob("*.hdf5")]) < 40  # no process goes on to the next file


def test_checksums_that_a_full_disk_left_out_are_written_later(tmp_path):
    root = run(tmp_path)
    before = (root / "SHA256SUMS").read_bytes()
    (root / "SHA256SUMS").unlink()
    run(tmp_path)
    assert (root / "SHA256SUMS").read_bytes() == before
