"""Recipes from YAML and overrides: what is accepted, and one line that helps for what is not."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml

from pelagos.datasets.base.annotations import AtLeastOne, BelowOne, Named, Odd, Positive
from pelagos.datasets.base.config import Checked, plain
from pelagos.datasets.base.config import build as build_config
from pelagos.datasets.base.config import read as read_config
from pelagos.datasets.base.overrides import apply
from pelagos.datasets.base.registry import Registry
from pelagos.datasets.fields.normalization import Statistics
from pelagos.operators import create


@dataclass(frozen=True)
class Part:
    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Inner:
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0


@dataclass(frozen=True)
class Recipe:
    data: tuple[Part, ...]
    operator: dict[str, Any]
    optimizer: Inner = field(default_factory=Inner)
    normalizer: dict[str, Any] = field(default_factory=lambda: {"name": "window"})
    rates: dict[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    seed: int | None = None
    steps: int = 100
    start: str | None = None
    folder: Path = Path()
    identity: bool = True
    size: int | tuple[int, ...] = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    order: Literal[1, 2] = 1


BASE = {"data": [{"path": "a"}], "operator": {"name": "x"}}


@pytest.fixture
def read(tmp_path):
    def read(changes=None, *overrides):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**BASE, **(changes or {})}))
        return read_config(Recipe, path, overrides)

    return read


def refusal(call, *arguments):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the tests look at all of the message)
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "class '" not in message
    assert "functools" not in message
    return message


def test_values_become_what_the_hints_say(read):
    recipe = read({"optimizer": {"learning_rate": 1, "betas": [0, 1]}, "folder": "f", "size": [2]})
    assert recipe.data == (Part("a"),)
    assert isinstance(recipe.optimizer.learning_rate, float)
    assert recipe.optimizer.betas == (0.0, 1.0)
    assert recipe.folder == Path("f")
    assert recipe.size == (2,)


def test_plain_is_the_inverse_of_build(read):
    recipe = read({"rates": {"a.b": 0.5}, "seed": 3})
    assert build_config(Recipe, plain(recipe)) == recipe


def test_overrides(read):
    recipe = read(
        {"optimizer": {"clip": 2.0}},
        *("--optimizer.learning_rate", "1e-4", "--operator.hidden=8", "--normalizer.growth", "1.5"),
        *("--start", "123", "--seed", "null", "--data", "[{path: b, weight: 2}]", "--steps", "-5"),
    )
    assert recipe.optimizer == Inner(learning_rate=1e-4, clip=2.0)
    assert recipe.operator == {"name": "x", "hidden": 8}
    assert recipe.normalizer == {"name": "window", "growth": 1.5}
    assert recipe.start == "123"
    assert recipe.seed is None
    assert recipe.data == (Part("b", 2.0),)
    assert recipe.steps == -5


def test_a_text_that_looks_like_a_number_stays_a_text(read):
    assert read({"operator": {"name": "5"}}).operator == {"name": "5"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--optimizer.learning_rat", "0.5"], "'optimizer.learning_rat'; did you mean 'optimizer."),
        (["--step", "5"], "unknown key 'step'; did you mean 'steps'?"),
        (["--optimizer.lr=3"], "valid names: optimizer.betas, optimizer.clip, optimizer.learning"),
        (["--learning_rate", "3"], "did you mean 'optimizer.learning_rate'?"),
        (["--data.0.weight", "2"], "data is a list; override it whole, as in --data '[{path: …}]'"),
        (["--steps.x", "2"], "unknown key 'steps.x': steps is a whole number"),
        (["--steps"], "--steps needs a value"),
        (["--steps", "--seed", "1"], "--steps needs a value"),
        (["steps", "1"], "unexpected argument 'steps'"),
        (["--steps", "many"], "steps must be a whole number; got 'many'"),
    ],
)
def test_wrong_overrides(read, overrides, expected):
    assert expected in refusal(read, {}, *overrides)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": None}, "steps must not be null"),
        ({"optimizer": None}, "optimizer must not be null"),
        ({"optimizer": {"learning_rate": None}}, "optimizer.learning_rate must not be null"),
        ({"data": [{"path": None}]}, "data[0].path must not be null"),
        (
            {"data": ["d/heat_1d"]},
            "data[0] must be a mapping of keys such as path; got 'd/heat_1d'",
        ),
        ({"data": "d"}, "data must be a list; got 'd'"),
        ({"data": [{"weight": 2}]}, "missing but required: data[0].path"),
        ({"data": [{"path": "a", "wieght": 2}]}, "did you mean 'data[0].weight'?"),
        ({"steps": 1.5}, "steps must be a whole number; got 1.5"),
        ({"steps": True}, "steps must be a whole number; got True"),
        ({"seed": "x"}, "seed must be a whole number; got 'x'"),
        ({"optimizer": {"learning_rate": "fast"}}, "optimizer.learning_rate must be a number"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas must be a list of 2 entries"),
        ({"identity": 1}, "identity must be true or false; got 1"),
        ({"names": "u"}, "names must be a list, as in [u]; got 'u'"),
        ({"names": [5]}, "names[0] must be text; got 5"),
        ({"operator": ["x"]}, "operator must be a mapping of keys; got ['x']"),
        ({"rates": {1: 2.0}}, "keys of rates must be text; got 1"),
        ({"size": "x"}, "size must be a whole number or a list; got 'x'"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16; got 'fp16'"),
        ({"order": True}, "order must be one of 1, 2; got True"),
        ({"order": 1.0}, "order must be one of 1, 2; got 1.0"),
        ({"steps": float("nan")}, "steps must be finite; got nan"),
        ({"optimizer": {"clip": float("inf")}}, "optimizer.clip must be finite; got inf"),
        ({"operator": {"a": {"b": [1, float("nan")]}}}, "operator.a.b[1] must be finite"),
    ],
)
def test_wrong_values(read, changes, expected):
    assert expected in refusal(read, changes)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (b"\xff\xfe\x00\x80", "is no text file"),
        (b"", "is empty"),
        (b"- a\n", "must hold a YAML mapping of keys; got a list"),
        (b"a: [", "is not valid YAML"),
        (b"a: 2026-99-99", "is not valid YAML"),
        (b"data: [{path: a}]", "missing but required: operator"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, contents, expected):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(contents)
    message = refusal(read_config, Recipe, path)
    assert expected in message
    assert str(path) in message


NAMED = {"class_path": "sideeffect.E", "init_args": {}}


@pytest.mark.parametrize(
    "changes",
    [
        *({key: value} for key in ("data", "optimizer") for value in ("sideeffect.E", NAMED)),
        {"data": ["sideeffect.E"]},
        {"data": [NAMED]},
        {"operator": NAMED},
        {"operator": {"name": "x", "block": NAMED}},
        {"normalizer": NAMED},
    ],
)
@pytest.mark.parametrize("overridden", [False, True])
def test_nothing_in_a_recipe_is_imported(read, changes, overridden, tmp_path, monkeypatch):
    (tmp_path / "sideeffect.py").write_text("class E: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        if overridden:
            ((key, value),) = changes.items()
            recipe = read({}, f"--{key}", yaml.safe_dump(value, default_flow_style=True))
        else:
            recipe = read(changes)
    except ValueError as error:
        assert "must be a" in str(error)  # noqa: PT017 (either outcome is right where all is data)
    else:
        assert {"operator", "normalizer"} & set(changes)
        assert plain(recipe)[next(iter(changes))] == next(iter(changes.values()))
    assert "sideeffect" not in sys.modules


def test_the_prefix_stands_before_every_key():
    build = build_config
    assert "optimizer.clip must be a number" in refusal(build, Inner, {"clip": "x"}, "optimizer")
    assert "optimizer: unknown key 'clp'; did you mean 'clip'?" in refusal(
        build, Inner, {"clp": 1}, "optimizer"
    )
    assert "normalizer must be a mapping" in refusal(build, Statistics, "x", "normalizer")


def test_a_created_operator_names_itself():
    with pytest.raises(ValueError, match=r"dymixop\.hidden must be a whole number; got 'x'"):
        create("dymixop", fields=("u",), ndim=1, hidden="x")


def test_a_bug_in_a_constructor_is_no_message_for_users():
    @dataclass
    class Broken:
        a: int = 1

        def __post_init__(self):
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        build_config(Broken, {})


@dataclass(frozen=True)
class Ranged(Checked):
    modes: AtLeastOne = 1
    width: Odd = 1
    rate: Positive | None = 1.0
    betas: tuple[BelowOne, ...] = ()
    scales: dict[str, Positive] = field(default_factory=dict)


@dataclass(frozen=True)
class WithRanged:
    parts: tuple[Ranged, ...] = ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"modes": 0}, "modes must be at least 1; got 0"),
        ({"width": 2}, "width must be odd and positive; got 2"),
        ({"rate": 0.0}, "rate must be positive or be null; got 0.0"),
        ({"betas": (0.5, 1.0)}, "betas[1] must lie in [0, 1); got 1.0"),
        ({"scales": {"a": -1.0}}, "scales.a must be positive; got -1.0"),
        ({"modes": True}, "modes must be a whole number; got True"),
    ],
)
def test_ranges_hold_however_a_config_is_made(values, expected):
    assert refusal(lambda: Ranged(**values)) == expected
    key = "a.parts[0]"
    assert refusal(build_config, WithRanged, {"parts": [values]}, "a") == f"{key}.{expected}"


def test_a_config_made_in_python_is_the_one_that_is_read():
    made = Ranged(rate=2, betas=[0, 0.5])  # pyright: ignore[reportArgumentType]
    assert made == build_config(Ranged, {"rate": 2, "betas": [0, 0.5]})
    assert isinstance(made.rate, float)
    assert made.betas == (0.0, 0.5)


@dataclass(frozen=True)
class Slow:
    share: BelowOne = 0.5
    kind: ClassVar[str] = "slow"


class Fast:
    @dataclass(frozen=True)
    class Config:
        steps: int
        share: float = 1.0
        kind: Literal["fast"] = "fast"


WAYS: Registry[Any] = Registry("pelagos.tests", "way", {})
WAYS.add("slow", Slow)
WAYS.add("fast", Fast)


@dataclass(frozen=True)
class Journey:
    way: Annotated[Any, Named(WAYS, "kind")] = Slow()
    open: Annotated[dict[str, Any], Named(WAYS, "kind")] = field(default_factory=dict)


def journey(values, *overrides):
    return build_config(Journey, apply(values, Journey, overrides, yaml.safe_load))


def test_a_component_by_name():
    assert journey({"way": {"kind": "fast", "steps": 2}}).way == Fast.Config(2)
    assert journey({"way": {"share": 0.25}}).way == Slow(0.25)
    assert journey({}).way == Slow()
    made = journey({"way": {"kind": "fast", "steps": 2}, "open": {"kind": "fast"}})
    assert plain(made) == {
        "way": {"kind": "fast", "steps": 2, "share": 1.0},
        "open": {"kind": "fast"},
    }
    assert plain(journey({}))["way"] == {"kind": "slow", "share": 0.5}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"way": {"kind": "fats"}}, "way.kind: unknown way 'fats'; did you mean 'fast'?"),
        ({"way": {"kind": 3}}, "way.kind must be text; got 3"),
        ({"way": "fast"}, "way must be a mapping of keys such as kind; got 'fast'"),
        ({"way": None}, "way must not be null"),
        ({"way": {"kind": "fast", "step": 2}}, "unknown key 'way.step'; did you mean 'way.steps'?"),
        ({"way": {"kind": "fast"}}, "missing but required: way.steps"),
        ({"way": {"share": 1.0}}, "way.share must lie in [0, 1); got 1.0"),
    ],
)
def test_wrong_components(values, expected):
    assert refusal(journey, values) == expected


def test_overrides_of_components():
    fast = {"way": {"kind": "fast", "steps": 2}, "open": {"kind": "slow", "share": 0.1}}
    assert journey(fast, "--way.steps", "3").way == Fast.Config(3)
    assert journey(fast, "--way.kind", "slow").way == Slow()
    shared = {"way": {"kind": "fast", "steps": 2, "share": 0.1}}
    assert journey(shared, "--way.kind", "slow").way == Slow(0.1)
    assert journey(fast, "--way.share", "0.1", "--way.kind", "slow").way == Slow(0.1)
    assert journey(fast, "--way.kind", "fast").way == Fast.Config(2)
    assert journey(fast, "--open.kind=fast").open == {"kind": "fast", "share": 0.1}
    assert journey({}, "--way.share", "0.1").way == Slow(0.1)
    assert "did you mean 'way.steps'?" in refusal(journey, fast, "--way.step", "3")
    assert "did you mean 'fast'?" in refusal(
        journey, fast, "--way.kind", "fats", "--way.steps", "2"
    )


def test_reading_help_needs_no_pydantic():
    code = "import sys, pelagos.datasets.base.config; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
