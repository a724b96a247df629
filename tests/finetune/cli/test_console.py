from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from pelagos.datasets import equations, open_store
from pelagos.datasets.base import options, parsing
from pelagos.datasets.base.cli import run_command
from pelagos.datasets.simulation.settings import COUNTS
from pelagos.finetune.cli import console
from pelagos.finetune.cli import forecast as commands
from pelagos.finetune.cli.console import COMMANDS, main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path, shift, registered):
    """A run directory with a checkpoint; the working directory is beside it."""
    path = tmp_path / "runs" / "mine"
    shift().save_pretrained(path / "checkpoint")
    (path / "recipe.yaml").write_text("init_from: null\n")
    return path


@pytest.fixture
def fails(capsys):
    """Runs a command line that must fail with one line; gives that line."""

    def check(*argv: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in argv])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert caught.value.code == 2
        assert len(lines) == 1
        assert lines[0].startswith("pelagos: error: ")
        assert not captured.out
        return lines[0]

    return check


# ------------------------------------------------------------------------------ help


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_overview_names_every_command(capsys, argv) -> None:
    main(argv)
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name}" in text
        assert command.summary in text
    assert "examples:" in text


def test_group_overview_names_its_commands_only(capsys) -> None:
    main(["data"])
    text = capsys.readouterr().out
    assert "data simulate" in text
    assert "pretrain" not in text
    assert "evaluate" not in text
    assert text.count("  pelagos data ") == 2


def test_the_way_to_a_traceback_is_told(capsys) -> None:
    main(["--help"])
    assert "PELAGOS_TRACEBACK=1" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_examples(capsys, name) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert f"usage: pelagos {name}" in text
    assert f"examples:\n  pelagos {name}" in text


def test_simulate_help_states_the_defaults(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["data", "simulate", "--help"])
    text = capsys.readouterr().out
    for split, count in COUNTS.items():
        assert f"trajectories in the {split} split (default: {count})" in text


def test_version(capsys) -> None:
    main(["--version"])
    assert capsys.readouterr().out.split()[0] == "pelagos"


SLOW = ("torch", "numpy", "h5py", "xarray", "matplotlib", "wandb", "accelerate", "pydantic")


def test_help_imports_nothing_slow() -> None:
    """Of the command, of every group and command, and of the modules that torchrun starts."""
    helps = [[], ["data"], ["recipe", "--help"], *([*name.split(), "--help"] for name in COMMANDS)]
    code = (
        "import runpy, sys; from pelagos.finetune.cli.console import main\n"
        f"for words in {helps}:\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert not end.code\n"
        "sys.argv = ['-m', '--help']\n"
        "for module in ('pelagos.pretrain', 'pelagos.finetune'):\n"
        "    try: runpy.run_module(module, run_name='__main__')\n"
        "    except SystemExit as end: assert not end.code\n"
        f"print('slow:', {{*{SLOW}}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "slow: set()"
    assert done.stdout.count("usage: ") == len(helps) + 2


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_plain_text_that_fits_the_terminal(capsys, monkeypatch, name, columns) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main([*name.split(), "--help"])
    text, _, examples = capsys.readouterr().out.partition("examples:")
    assert text.isprintable() or {c for c in text if not c.isprintable()} == {"\n"}
    assert max(map(len, text.splitlines())) <= columns
    assert examples


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_that_can_be_typed_is_explained(name) -> None:
    arguments = parsing.app_of(COMMANDS[name].load(), name).assemble_argument_collection(
        parse_docstring=True
    )
    for argument in arguments:
        assert not argument.show or argument.parameter.help, argument.name
        assert "_" not in argument.name


def test_help_passes_through_a_pipe_that_closes() -> None:
    code = "from pelagos.finetune.cli.console import main; main(['predict', '--help'])"
    command = f"{sys.executable} -c {shlex.quote(code)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode in (0, 141)  # it may be done before the other end is closed
    assert not done.stderr


# ------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reprot", "unknown command 'reprot'; did you mean 'report'?"),
        ("data simulat", "unknown command 'data simulat'; did you mean 'simulate'?"),
        ("--verbose", "unknown command '--verbose'"),
        ("data simulate heat_1d --trian 4", "unknown option --trian; did you mean '--train'?"),
        ("data simulate heat1d", "did you mean 'heat_1d'?"),
        ("data simulate", "which equation? One of"),
        ("data simulate heat_1d --train x", "--train: needs a whole number of at least 0; got 'x'"),
        ("data simulate heat_1d --frames 0", "--frames: needs a whole number of at least 1"),
        ("data simulate heat_1d --dt=-1", "--dt: needs a positive number; got '-1'"),
        ("data simulate heat_1d --dt nan", "--dt: needs a finite number; got 'nan'"),
        ("data simulate heat_1d --resolution 8,x", "--resolution: needs a whole number"),
        ("data simulate heat_1d --parameter nu", "needs name=value or name=low:high; got 'nu'"),
        ("data simulate heat_1d --parameter nu=2:1", "needs low ≤ high"),
        ("data simulate heat_1d --parameter nu=1 --train 1", "has no parameter 'nu'"),
        ("data simulate heat_1d --dtype float23", "--dtype cannot be 'float23'; did you mean"),
        ("data simulate heat_1d --device gpu", "no device 'gpu' on this machine"),
        ("data inspect nowhere", "nowhere"),
        ("data inspect", "required: PATH (see pelagos data inspect --help)"),
        ("predict checkpoint", "required: DATA"),
        ("predict nowhere data --split test", "no such file or folder: "),
        ("evaluate a b --step 3", "unknown option --step; did you mean '--steps'?"),
        ("report --out x.html", "required: RUN"),
        ("report nowhere", "no recipe.yaml"),
        ("report a b -x", "unknown option -x"),
        ("data inspect a b", "unexpected argument 'b'"),
        ("data simulate heat_1d --train", "--train needs a value"),
        ("data inspect $NO_SUCH/a", "PATH: $NO_SUCH is not set in the environment; got '$NO_SUCH/"),
        ("report a --out ${NO_SUCH}/b", "--out: ${NO_SUCH} is not set in the environment"),
        ("recipe show quikstart", "no recipe 'quikstart'; did you mean 'quickstart'?"),
        ("recipe schema pretrian", "COMMAND cannot be 'pretrian'; did you mean 'pretrain'?"),
        ("pretrain quickstart", "missing but required: RUN"),
        ("pretrain quickstrat r", "no recipe 'quickstrat'"),
        ("pretrain quickstart r --resum auto", "unknown option --resum; did you mean '--resume'?"),
        ("pretrain quickstart r --resume yes", "--resume cannot be 'yes'; valid names: auto, neve"),
        ("pretrain quickstart r --processes 0", "--processes: needs a whole number of at least 1"),
        ("pretrain quickstart r --log-evry 3", "unknown key 'log_evry'; did you mean 'log_every'?"),
        ("pretrain quickstart r --optimizer.learning-rat 3", "did you mean 'optimizer.learning_ra"),
        ("pretrain quickstart r --steps --batch 4", "--steps needs a value"),
    ],
)
def test_mistakes_are_one_line(fails, tmp_path, monkeypatch, line, message) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(*shlex.split(line))
    assert not [*tmp_path.iterdir()]


def test_mistakes_about_data_and_checkpoints(fails, run, wave, shift, tmp_path) -> None:
    assert "no split 'valid'" in fails("evaluate", run, wave, "--split", "valid")
    assert "at most 11 can be predicted" in fails("evaluate", run, wave, "--steps", 50)
    assert "has 3 trajectories; 9" in fails("predict", run, wave, "--trajectories", 9)
    assert "leaves no 1 history" in fails("predict", run, wave, "--start", 12)
    other = shift(time_steps=(0.3,)).save_pretrained(tmp_path / "other")
    assert "trained at dt = 0.3" in fails("predict", other, wave)
    (other / "SHA256SUMS").unlink()
    (other / "config.json").write_text('{"schema": 99}')
    assert "schema 99" in fails("predict", other, wave)
    (run / "checkpoint" / "model.safetensors").write_bytes(b"cut")
    assert "damaged" in fails("predict", run, wave)
    (run / "checkpoint").rename(tmp_path / "away")
    assert "has no checkpoint yet" in fails("predict", run, wave)
    assert sorted(path.name for path in run.iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two lines"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), "No such file: a.txt"),
        (PermissionError(errno.EACCES, "Permission denied", "b"), "Permission denied: b"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("unable to open"), "unable to open"),
    ],
)
def test_errors_of_the_system_are_one_line(monkeypatch, capsys, error, line) -> None:
    monkeypatch.setattr(commands, "report", _raise(error))
    with pytest.raises(SystemExit) as caught:
        main(["report"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"pelagos: error: {line}\n"


@pytest.fixture
def interruptible():
    """A command that was interrupted ignores further interrupts: not so this process."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_exits_with_130(monkeypatch, capsys) -> None:
    monkeypatch.setattr(commands, "report", _raise(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as caught:
        main(["report"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "pelagos: interrupted\n"


def test_a_second_interrupt_does_not_disturb_the_end() -> None:
    code = (
        "import atexit, os, signal\n"
        "from pelagos.datasets.base.cli import run_command\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background
        "interrupt = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "atexit.register(interrupt)\n"
        "run_command(interrupt, [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "pelagos: interrupted\n")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("rank", "end"), [("0", "\n"), ("1", " (process 1)\n")])
def test_a_process_of_many_names_itself(monkeypatch, capsys, rank, end) -> None:
    monkeypatch.setenv("RANK", rank)
    for error, code in ((ValueError("no"), 2), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(commands, "report", _raise(error))
        with pytest.raises(SystemExit) as caught:
            main(["report"])
        assert caught.value.code == code
        assert capsys.readouterr().err.endswith(end)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_mistakes_keep_their_traceback_when_asked(monkeypatch, rank) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("PELAGOS_TRACEBACK", "1")
    monkeypatch.setattr(commands, "report", _raise(ValueError("a mistake")))
    with pytest.raises(ValueError, match="a mistake"):
        main(["report"])


def test_unexpected_errors_keep_their_traceback(monkeypatch) -> None:
    monkeypatch.setattr(commands, "report", _raise(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["report"])


# ------------------------------------------------------------------------------ spelling


def example(
    place: options.Source,
    /,
    *,
    lead_times: options.Increasing | None = None,
    field: tuple[str, ...] = (),
    out: options.File = Path("out"),
    overrides: options.Overrides = (),
) -> None:
    """Nothing."""


def typed(line: str) -> dict[str, Any]:
    """What `example` would be called with."""
    return parsing.parse(example, line.split(), "example").arguments


def test_old_spellings_are_noted_in_one_line(capsys) -> None:
    found = typed("--lead_times 1,2 --optimizer.learning_rate=3 -- --b_c")
    assert found["place"] == "--b_c"
    assert capsys.readouterr().err == (
        "pelagos: note: --lead_times, --optimizer.learning_rate are spelled --lead-times, "
        "--optimizer.learning-rate now\n"
    )
    assert typed("a --lead_times 1,2")["lead_times"] == (1, 2)
    assert capsys.readouterr().err == ("pelagos: note: --lead_times is spelled --lead-times now\n")
    typed("a_b --lead-times 1,2 --field velocity_x")
    assert not capsys.readouterr().err


def test_of_many_processes_one_notes_an_old_spelling(capsys, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    typed("a --lead_times 1,2")
    assert not capsys.readouterr().err


def test_all_other_options_are_overrides_wherever_they_stand() -> None:
    words = "--steps 5 --init-from null a --operator {a:1} --operator.the-width -3 --x=-1 --field b"
    found = typed(words)
    assert (found["place"], found["field"]) == ("a", ("b",))
    assert found["overrides"] == (
        *("--steps", "5", "--init_from", "null", "--operator", "{a:1}"),
        *("--operator.the_width", "-3", "--x=-1"),
    )


def test_the_last_of_several_values_counts_and_lists_are_collected() -> None:
    found = typed("a --lead-times 1,2 --lead-times=3 --field b --field c --out d --out e")
    assert found["lead_times"] == (3,)
    assert found["field"] == ("b", "c")
    assert found["out"] == Path("e")


def test_values_by_name_are_collected() -> None:
    words = ["heat_2d", "--parameter", "a=1", "--parameter", "b=2:3", "--train", "1"]
    asked = parsing.parse(COMMANDS["data simulate"].load(), words, "data simulate")
    assert asked.arguments["asked"].parameters == {"a": 1.0, "b": (2.0, 3.0)}
    words = ["--units", "u=m/s", "--units", "time=s", "data/mine"]
    asked = parsing.parse(COMMANDS["data inspect"].load(), words, "data inspect")
    assert asked.arguments["reading"].units == {"u": "m/s", "time": "s"}


def test_home_and_variables_are_replaced_in_paths(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SCRATCH", "/scratch")
    found = typed("~/data --out $SCRATCH/${SCRATCH}x")
    assert (found["place"], found["out"]) == ("/home/ada/data", Path("/scratch//scratchx"))
    assert typed("hf:owner/model")["place"] == "hf:owner/model"
    (tmp_path / "a$b").touch()
    assert typed(f"{tmp_path}/a$b")["place"] == f"{tmp_path}/a$b"


# ------------------------------------------------------------------------------ commands


def test_recipes_are_listed_and_shown(capsys) -> None:
    main(["recipe", "list"])
    listed = capsys.readouterr().out
    for command in ("pretrain", "finetune"):
        assert f"pelagos {command} NAME RUN:" in listed
        for file in (ROOT / command / "recipes").glob("*.yaml"):
            assert f"  {file.stem} " in listed
            main(["recipe", "show", file.stem, command])
            assert capsys.readouterr().out == file.read_text()
    main(["recipe", "show", "quickstart"])
    assert capsys.readouterr().out == (ROOT / "pretrain/recipes/quickstart.yaml").read_text()


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_the_schema_of_a_recipe_is_json(capsys, command) -> None:
    main(["recipe", "schema", command])
    schema = json.loads(capsys.readouterr().out)
    assert {"data", "operator", "objective"} <= schema["properties"].keys()
    assert ("init_from" in schema["properties"]) == (command == "finetune")


def test_list_names_every_equation(capsys) -> None:
    main(["data", "simulate", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("  ")]) == len(equations.names())
    for name in equations.names():
        equation = equations.get(name)
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert equation.formula in line
        predicted = [f for f in equation.fields if f not in equation.prescribed]
        assert f"[{', '.join(predicted)}" in line
        assert not equation.prescribed or f"given {', '.join(equation.prescribed)}]" in line


def test_simulate_then_inspect(capsys, tmp_path) -> None:
    counts = "--train 2 --valid 1 --test 0 --frames 3 --seed 5"
    physics = "--resolution 25,32 --length 2 --dt 0.5 --parameter diffusivity=0.01:0.02"
    line = f"data simulate heat_2d --out {tmp_path} --name warm {counts} {physics}"
    main(shlex.split(line))
    assert capsys.readouterr().out.startswith(f"dataset: {tmp_path}/warm")
    store = open_store(tmp_path / "warm")
    assert store.grid.shape == (25, 32)
    assert store.grid.lengths == (2.0, 2.0)
    assert {split: len(part) for split, part in store.splits.items()} == {"train": 2, "valid": 1}
    assert store.times.tolist() == [0, 0.5, 1.0]
    assert store.provenance["seed"] == 5
    assert store.provenance["parameters"] == {"diffusivity": [0.01, 0.02]}
    main(["data", "inspect", str(tmp_path / "warm"), "--split", "valid"])
    text = capsys.readouterr().out
    assert text.startswith("warm\n")
    assert "25 × 32" in text
    assert "valid 1" in text


def test_predict_writes_into_the_run(capsys, run, wave) -> None:
    main(["predict", str(run), str(wave), "--trajectories", "2", "--steps", "4"])
    assert capsys.readouterr().out.startswith(f"prediction: {run}/prediction.nc")
    assert dict(xarray.load_dataset(run / "prediction.nc").sizes) == {
        "trajectory": 2,
        "time": 4,
        "x": 32,
    }


def test_predict_tells_of_rollouts_that_blow_up(capsys, shift, registered, wave, tmp_path) -> None:
    """Amplitudes 1, 2 and 5 times 1e9 per step pass 3.4e38 at step 5."""
    shift(gain=1e9).save_pretrained(tmp_path / "wild")
    out = tmp_path / "p.nc"
    main(["predict", str(tmp_path / "wild"), str(wave), "--out", str(out), "--steps", "6"])
    (line,) = [li for li in capsys.readouterr().err.splitlines() if "not finite" in li]
    assert line == (
        "pelagos: warning: 3 of 3 trajectories are not finite from lead time 1.25 s on "
        "(the earliest)"
    )
    assert xarray.load_dataset(out).sizes["time"] == 6


def test_predict_writes_members_into_zarr(capsys, run, wave, tmp_path) -> None:
    out = tmp_path / "p.zarr"
    options = ["--members", "3", "--perturbation", "0.1", "--steps", "2", "--out", str(out)]
    main(["predict", str(run), str(wave), *options])
    assert "of what was trained; open it" in capsys.readouterr().out
    with xarray.open_dataset(out, engine="zarr") as data:
        assert dict(data.sizes) == {"member": 3, "trajectory": 3, "time": 2, "x": 32}
        assert not np.array_equal(data["u"][0], data["u"][1])


def test_parameters_are_known(fails, run, wave) -> None:
    line = fails("predict", run, wave, "--parameter", "nu=1")
    assert "this shift takes no parameter nu; it takes none" in line
    assert "needs name=value" in fails("predict", run, wave, "--parameter", "nu")


def test_predict_from_a_checkpoint_writes_here(capsys, run, wave, monkeypatch) -> None:
    monkeypatch.chdir(run.parent)
    main(["predict", str(run / "checkpoint"), str(wave), "--steps", "30"])
    assert xarray.load_dataset("prediction.nc").sizes["time"] == 30
    main(["predict", "mine", str(wave), "--out", "new/p.nc"])
    assert (run.parent / "new" / "p.nc").is_file()


def test_evaluate_prints_model_against_persistence(capsys, run, wave) -> None:
    main(["evaluate", str(run), str(wave)])
    text = capsys.readouterr().out
    assert "after 0.25 s" in text
    assert "after 1.5 s" in text
    assert "after 2.75 s" in text
    assert "shift" in text
    assert "persistence" in text
    assert text.splitlines()[-1] == f"evaluation: {run}/evaluation.json"
    result = json.loads((run / "evaluation.json").read_text())
    assert result["data"] == str(wave)
    assert result["checkpoint"] == str(run / "checkpoint")
    assert result["scores"]["vrmse"]["u"]["mean"][0] < 1e-5


def test_report_of_a_run(capsys, run, tmp_path) -> None:
    out = tmp_path / "r.html"
    main(["report", str(run), "--out", str(out), "--title", "Mine"])
    assert capsys.readouterr().out.startswith(f"report: {out}")
    assert "<h1>Mine</h1>" in out.read_text()


def test_nothing_is_overwritten(fails, run, wave, tmp_path) -> None:
    report = tmp_path / "r.html"
    lines = {
        run / "prediction.nc": ["predict", run, wave],
        run / "evaluation.json": ["evaluate", run, wave],
        report: ["report", run, "--out", report],
    }
    for path, argv in lines.items():
        path.write_text("mine")
        assert f"{path} exists already" in fails(*argv)
        assert path.read_text() == "mine"
    (run / "prediction.nc").unlink()
    (run / "prediction.nc").mkdir()
    assert "is a directory" in fails("predict", run, wave, "--overwrite")
    assert "--overwrite, in Python" in fails("evaluate", run, wave)
    main(["evaluate", str(run), str(wave), "--overwrite"])
    assert json.loads((run / "evaluation.json").read_text())["schema"] == 1


def test_places_that_cannot_be_written_are_told_before_work(
    fails, run, wave, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(commands, "_open", _raise(AssertionError("work began")))
    (tmp_path / "file").write_text("keep")
    for command in ("predict", "evaluate"):
        line = fails(command, run, wave, "--out", tmp_path / "file" / "new" / "p")
        assert f"{tmp_path}/file is a file, not a folder" in line
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    for out in (tmp_path / "p.nc", tmp_path / "new" / "deep" / "p.nc"):
        line = fails("predict", run, wave, "--out", out)
        assert f"cannot write {out}: no permission to write into {tmp_path}" in line
    assert "no permission" in fails("report", run, "--out", tmp_path / "r.html")
    assert not (tmp_path / "new").exists()


def test_console_script_is_installed() -> None:
    """`pelagos` is this `main`, and the process exits with its code."""
    code = "import sys; from pelagos.finetune.cli.console import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "predikt"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "pelagos: error: unknown command 'predikt'; did you mean 'predict'?\n"


def test_commands_can_be_loaded() -> None:
    assert all(callable(command.load()) for command in COMMANDS.values())
    assert console.COMMANDS["report"].load() is commands.report


def _raise(error: BaseException):
    def function(*_: object) -> None:
        raise error

    return function


def test_warnings_are_one_line_without_source_code() -> None:
    told = []

    def shown(text: str) -> str:
        return warnings.formatwarning(text, UserWarning, "file.py", 1)

    run_command(lambda _: told.append(shown("the step is far\n   from that of training")), [])
    assert told == ["pelagos: warning: the step is far from that of training\n"]
    assert "file.py" in shown("outside of a command")
