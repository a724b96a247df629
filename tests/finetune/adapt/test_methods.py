"""Fine-tuning methods: what they train, that they change no function, and that they undo it all."""

import copy
from dataclasses import dataclass

import pytest
import torch

from pelagos.datasets.base.config import build, plain
from pelagos.finetune.adapt.adapt import adapt
from pelagos.finetune.adapt.methods.bands import Bands, BandsConfig
from pelagos.finetune.adapt.methods.base import Method
from pelagos.finetune.adapt.methods.freeze import FreezeConfig
from pelagos.finetune.adapt.methods.head import Head, HeadConfig
from pelagos.finetune.adapt.methods.lora import LoRA, LoRAConfig, LowRank
from pelagos.finetune.adapt.methods.registry import METHODS, method_of
from pelagos.finetune.adapt.methods.unfreeze import Unfreeze, UnfreezeConfig
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.operators import Description, create
from pelagos.operators.core.updates import Banded
from pelagos.pretrain.objectives import Phase

FIELDS = ("u", "v")
OPERATORS = {
    "dymixop 1D": ("dymixop", {"ndim": 1, "hidden": 8, "layers": 2, "modes": 3, "history": 2}),
    "dymixop 2D": ("dymixop", {"ndim": 2, "hidden": 8, "layers": 1, "modes": 3, "history": 1}),
    "multiscale": (
        "multiscale",
        {"ndim": 2, "width": 8, "depths": (1, 1), "heads": (2, 2), "skips": (0, 0), "patch": 2}
        | {"window": 4},
    ),
    "observer": ("observer", {"ndim": 1, "hidden": 8, "layers": 2, "modes": 3}),
}


@pytest.fixture(params=OPERATORS)
def operator(request):
    name, config = OPERATORS[request.param]
    return create(name, description=Description(FIELDS, time_steps=(0.1,)), seed=3, **config)


def predicted(operator, train=False):
    operator.train(train)
    shape = (2, operator.history, len(FIELDS), *(16,) * operator.ndim)
    history = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.set_grad_enabled(train):
        return torch.stack(list(operator.rollout(history, dt=0.1, steps=2, gradients=True)))


def assert_unchanged(operator, before):
    """To the bit; the observer's transforms round by where their memory happens to lie."""
    found = predicted(operator)
    if operator.name == "observer":
        torch.testing.assert_close(found, before, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(found, before)


def updated(operator):
    """The operator with updates that are no longer zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in operator.modules():
            if isinstance(module, LowRank):
                module.up.normal_(0, 0.1, generator=generator)
    return operator


def test_lora_starts_from_the_same_function_to_the_bit(operator):
    weights, before = operator.state_dict(), predicted(operator)
    trained = predicted(operator, train=True)
    kept = LoRA(LoRAConfig(rank=2)).prepare(operator, 0)
    assert set(kept) == {name for name in weights if name in kept}
    assert_unchanged(operator, before)
    for name in kept:
        path, _, leaf = name.rpartition(".")
        assert torch.equal(getattr(operator.get_submodule(path), leaf), weights[name])
    # In training another attention kernel runs where the bias needs no gradient.
    torch.testing.assert_close(predicted(operator, train=True), trained)


def test_merged_is_unmerged_and_caches_see_every_update(operator):
    method, names = LoRA(LoRAConfig(rank=2, alpha=3.0)), set(operator.state_dict())
    before = predicted(operator)
    method.prepare(operator, 0)
    assert_unchanged(operator, before)  # caches are full
    found = predicted(updated(operator))
    assert not torch.equal(found, before)
    torch.testing.assert_close(predicted(copy.deepcopy(operator)), found, rtol=0, atol=0)
    torch.testing.assert_close(predicted(operator, train=True), found)
    method.finish(operator)
    torch.testing.assert_close(predicted(operator), found)
    assert set(operator.state_dict()) == names


def test_only_updates_and_what_is_named_are_trained(operator):
    first = next(iter(operator.named_parameters()))[0].split(".")[0]
    method = LoRA(LoRAConfig(rank=2, train=(first,)))
    method.prepare(operator, 0)
    trained = {name for name, p in operator.named_parameters() if p.requires_grad}
    assert all(name.endswith((".up", ".down")) or name.startswith(first) for name in trained)
    predicted(operator, train=True).square().sum().backward()
    for name, parameter in operator.named_parameters():
        assert (parameter.grad is not None) or name not in trained or "correction" in name


def test_the_number_of_trained_parameters():
    """Rank · (rows + columns) for every matrix; a spectral weight has one per mode."""
    name, config = OPERATORS["dymixop 2D"]
    operator = create(name, fields=FIELDS, seed=0, **config)
    rank, hidden, modes = 2, 8, 6 * 3
    weights = ("mixing.*.globals", "reduce", "mixing.0.differences")
    LoRA(LoRAConfig(rank=rank, weights=weights)).prepare(operator, 0)
    spectral = modes * (hidden + 2 * hidden)
    wide = operator.reduce.weight.shape[1]
    expected = rank * (spectral + (hidden + wide) + (hidden + 9 * hidden))
    assert sum(p.numel() for p in operator.parameters() if p.requires_grad) == expected


def test_the_head_is_trained_and_the_backbone_is_not(operator):
    idle = {name for name, p in operator.named_parameters() if not p.requires_grad}
    kept = Head(HeadConfig()).prepare(operator, 0)
    backbone = {
        "dymixop": ("mixing",),
        "multiscale": ("encoder", "decoder", "merging", "unmerging", "skips"),
        "observer": ("tendency.layers",),
    }[operator.name]
    names = {name for name, _ in operator.named_parameters()}
    assert set(kept) == {name for name in names if name.startswith(backbone)}
    predicted(operator, train=True).square().sum().backward()
    for name, parameter in operator.named_parameters():
        assert parameter.requires_grad == (name not in {*kept, *idle})
        assert name not in kept or parameter.grad is None


def test_parts_of_the_backbone_may_be_trained_too():
    operator = create("dymixop", fields=FIELDS, seed=0, **OPERATORS["dymixop 1D"][1])
    kept = Head(HeadConfig(also=("mixing.*.linear", "mixing.1.expand"))).prepare(operator, 0)
    assert "mixing.0.linear.0.weight" not in kept
    assert "mixing.1.expand.bias" not in kept
    assert "mixing.0.expand.bias" in kept
    with pytest.raises(ValueError, match=r"method\.also: no module or parameter 'mixin'"):
        Head(HeadConfig(also=("mixin",))).prepare(operator, 0)


@pytest.mark.parametrize("method", [Head(HeadConfig()), Unfreeze(UnfreezeConfig())])
def test_an_operator_that_names_no_parts_is_refused_by_name(method, shift):
    with pytest.raises(ValueError, match=r"needs an operator that names its parts, and 'shift'"):
        method.prepare(shift(), 0)


def test_blocks_join_in_from_the_last_to_the_first():
    """Of 40 steps: 8 for the head, then two stages of 16, each with one more layer."""
    operator = create("dymixop", fields=FIELDS, seed=0, **OPERATORS["dymixop 1D"][1])
    method = Unfreeze(UnfreezeConfig(head=0.2, stages=2))
    assert method.prepare(operator, 0) == ()
    whole = Phase(range(40), lambda *_: None)
    phases = method.phases(operator, [whole])
    assert [phase.steps for phase in phases] == [range(8), range(8, 24), range(24, 40)]
    trained = [
        {name.rsplit(".", 1)[0] for name in dict(operator.named_parameters()) if phase.trains(name)}
        for phase in phases
    ]
    layers = [{part.split(".")[1] for part in each if "mixing" in part} for each in trained]
    assert layers == [set(), {"1"}, {"0", "1"}]
    assert all({"lift", "reduce", "unlift"} <= each for each in trained)
    assert [bool(phase.begins) for phase in phases] == [False, True, True]
    assert all(phase.loss is whole.loss for phase in phases)


def test_stages_cut_the_phases_of_an_objective():
    operator = create("observer", fields=FIELDS, seed=0, **OPERATORS["observer"][1])

    def gain(name):
        return name.startswith("correction")

    given = [Phase(range(10), lambda *_: None, lambda name: not gain(name))]
    given.append(Phase(range(10, 20), lambda *_: None, gain, "the gain"))
    phases = Unfreeze(UnfreezeConfig(head=0.5, stages=2)).phases(operator, given)
    assert [phase.steps for phase in phases] == [range(10), range(10, 15), range(15, 20)]
    assert not any(phases[0].trains(n) for n in ("correction.growth", "tendency.layers.1.mix.bias"))
    assert phases[0].trains("tendency.lift.bias")
    assert not phases[2].trains("tendency.layers.0.mix.bias")  # the objective's word counts
    assert phases[1].begins.startswith("the gain; more of the backbone joins in")


@pytest.mark.parametrize("kind", ["dymixop 1D", "dymixop 2D", "observer"])
def test_adapters_by_band_start_from_the_same_function_and_merge(kind):
    name, config = OPERATORS[kind]
    operator = create(name, description=Description(FIELDS, time_steps=(0.1,)), seed=3, **config)
    before, names = predicted(operator), set(operator.state_dict())
    method = Bands(BandsConfig(rank=4, alpha=2.0))
    kept = method.prepare(operator, 0)
    assert set(kept) == {name for name in names if name in kept}
    assert_unchanged(operator, before)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in operator.modules():
            if isinstance(module, Banded):
                for part in module.outer:
                    part.normal_(0, 0.1, generator=generator)
    found = predicted(updated(operator))
    assert not torch.equal(found, before)
    torch.testing.assert_close(predicted(operator, train=True), found)
    method.finish(operator)
    assert set(operator.state_dict()) == names
    torch.testing.assert_close(predicted(operator), found)


def test_the_number_of_parameters_by_band():
    """In 1D, of 3 modes: wave numbers 0 and 1 in a space of 4 channels, 2 in one of 2."""
    operator = create("dymixop", fields=FIELDS, seed=0, **OPERATORS["dymixop 1D"][1])
    Bands(BandsConfig(rank=4, local_rank=0)).prepare(operator, 0)
    hidden, layers = 8, 2
    one = sum(2 * (2 * hidden * r + modes * r * r) for r, modes in ((4, 2), (2, 1)))
    assert sum(p.numel() for p in operator.parameters() if p.requires_grad) == layers * one


def test_updates_follow_from_the_seed():
    def drawn(seed):
        operator = create("observer", fields=FIELDS, seed=0, **OPERATORS["observer"][1])
        LoRA(LoRAConfig(rank=2)).prepare(operator, seed)
        return operator.tendency.layers[0].mix.parametrizations.weight[0].down

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"name": "lroa"}, "unknown fine-tuning method 'lroa'; did you mean 'lora'"),
        ({"rank": 4}, "method needs a name, such as full"),
        ({"name": "lora", "rnak": 4}, r"unknown key '.*rnak'; did you mean '.*rank'"),
        ({"name": "lora", "rank": 0}, "rank must be at least 1; got 0"),
        ({"name": "lora", "alpha": 0.0}, "alpha must be positive; got 0"),
        ({"name": "freeze", "parts": "lift"}, "parts must be a list"),
    ],
)
def test_a_wrong_recipe_is_refused(values, match):
    recipe = {"data": [{"path": "x"}], "operator": {}, "method": values}
    with pytest.raises(ValueError, match=match):
        build(FinetuneRecipe, recipe)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (LoRAConfig(weights=("mixin",)), "method.weights: no module .* 'mixin'; did you mean 'mix"),
        (LoRAConfig(train=("lfit",)), "method.train: no module or parameter 'lfit'"),
        (LoRAConfig(rank=64), "nothing there is a matrix of more than 64 rows and columns"),
    ],
)
def test_what_does_not_fit_the_operator_is_refused(config, match):
    operator = create("dymixop", fields=FIELDS, seed=0, **OPERATORS["dymixop 1D"][1])
    with pytest.raises(ValueError, match=match):
        LoRA(config).prepare(operator, 0)


def test_an_operator_without_fourier_layers_has_no_bands():
    operator = create("multiscale", fields=FIELDS, seed=0, **OPERATORS["multiscale"][1])
    with pytest.raises(ValueError, match=r"multiscale has no Fourier layers there.*lora"):
        Bands(BandsConfig()).prepare(operator, 0)


def test_fresh_weights_must_be_trained():
    donor = create("dymixop", fields=FIELDS, seed=0, **OPERATORS["dymixop 1D"][1])
    new = Description(("u", "w"))
    with pytest.raises(ValueError, match=r"lora: lift\.weight, .* afresh .*name them in method"):
        adapt(donor, new, method=LoRA(LoRAConfig(rank=2)))
    _, report = adapt(donor, new, method=LoRA(LoRAConfig(rank=2, train=("lift", "unlift"))))
    assert "lift.weight" not in report.frozen
    assert "mixing.0.linear.0.weight" in report.frozen


def test_freeze_is_short_for_its_method():
    base = {"data": [{"path": "x"}], "operator": {}}
    recipe = build(FinetuneRecipe, {**base, "freeze": ["lift"]})
    assert recipe.method is None
    assert recipe.adaptation.config == FreezeConfig(parts=("lift",))
    named = build(FinetuneRecipe, {**base, "method": {"name": "freeze", "parts": ["lift"]}})
    assert named.adaptation.config == recipe.adaptation.config
    assert build(FinetuneRecipe, plain(named)) == named
    with pytest.raises(ValueError, match="freeze has no meaning beside method"):
        build(FinetuneRecipe, {**plain(named), "freeze": ["lift"]})


def test_every_method_is_found_by_its_name():
    for name in METHODS.names():
        config = METHODS.get(name).Config()
        assert config.name == name
        assert isinstance(method_of(config), METHODS.get(name))


@dataclass(frozen=True)
class BiasesConfig:
    name: str = "biases"


class Biases(Method[BiasesConfig]):
    """What another package may add: nothing but biases is trained."""

    Config = BiasesConfig

    def prepare(self, operator, seed):
        named = dict(operator.named_parameters())
        kept = tuple(name for name in named if not name.endswith("bias"))
        for name in kept:
            named[name].requires_grad_(False)
        return kept


def test_a_method_of_another_package_is_like_ours(monkeypatch):
    monkeypatch.setitem(METHODS.added, "biases", Biases)
    recipe = {"data": [{"path": "x"}], "operator": {}, "method": {"name": "biases"}}
    assert isinstance(build(FinetuneRecipe, recipe).adaptation, Biases)
    with pytest.raises(ValueError, match="did you mean 'biases'"):
        build(FinetuneRecipe, {**recipe, "method": {"name": "biasses"}})
