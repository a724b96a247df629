"""What launchers ask for in the environment: honoured, or refused before anything starts.

Accelerate reads its settings from variables that `accelerate launch` sets and shells inherit. Those
that would change what a recipe means, unseen, are errors here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .recipe import TrainRecipe

_PRECISION = {"no": "fp32", "fp32": "fp32", "bf16": "bf16"}
# Variable -> values that change nothing, and what to do about another one.
_NOTHING: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (
        ("1",),
        "a step accumulates batch / micro_batch micro-batches, as the recipe says",
    ),
    "ACCELERATE_DYNAMO_BACKEND": (("no",), "launch without --dynamo_backend"),
    "ACCELERATE_USE_DEEPSPEED": (("false", "0"), "launch without --use_deepspeed"),
    "ACCELERATE_USE_MEGATRON_LM": (("false", "0"), "launch without --use_megatron_lm"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": (("false", "0"), "launch without a parallelism config"),
    "FSDP_VERSION": (("2",), "shard with --fsdp_version 2"),
    "FSDP_OFFLOAD_PARAMS": (("false", "0"), "launch without --fsdp_offload_params"),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        ("false", "0"),
        "launch with --fsdp_activation_checkpointing false",
    ),
}
SHARD = "ACCELERATE_USE_FSDP"


def check_environment(recipe: TrainRecipe) -> None:
    """Refuse settings of a launcher that contradict the recipe, or that mean nothing here.

    Raises:
        ValueError: there is one.
    """
    for variable, (harmless, remedy) in _NOTHING.items():
        value = os.environ.get(variable, "")
        if variable.startswith("FSDP") and not wants_shards():
            continue
        if value and value.lower() not in harmless:
            raise ValueError(
                f"the launcher sets {variable}={value}, which training does not follow; {remedy}"
            )
    _require_restarts()
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    # `accelerate launch` says "no" where nothing was asked for.
    if asked != "no" and _PRECISION.get(asked) != recipe.precision:
        known = _PRECISION.get(asked)
        remedy = f"set precision: {known}" if known else "use precision: bf16 or fp32"
        raise ValueError(
            f"the launcher asks for mixed precision {asked}, and the recipe for "
            f"{recipe.precision}; {remedy}, or launch without --mixed_precision"
        )


def _require_restarts() -> None:
    """Refuse a torchrun whose restarts cannot work: processes that it starts again look for each
    other where those before them were (pytorch/pytorch#135712).

    Raises:
        ValueError: it would start again, with one store for all attempts.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "") == "True"
    if shared and restarts not in ("", "0") and os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError(
            f"torchrun --max-restarts {restarts} would start processes again that do not find each "
            "other; export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before it (and use --rdzv-backend "
            "c10d on several machines), or launch with --max-restarts 0"
        )


@contextmanager
def shards_are_ours() -> Iterator[bool]:
    """Whether shards are wanted; in this block Accelerate does not see it, and makes none."""
    value = os.environ.pop(SHARD, None)
    try:
        yield _is_true(value or "")
    finally:
        if value is not None:
            os.environ[SHARD] = value


def _is_true(value: str) -> bool:
    return value.lower() in ("true", "1")


def wants_shards() -> bool:
    """Whether the launcher asks for sharded parameters (`accelerate launch --use_fsdp`)."""
    return _is_true(os.environ.get(SHARD, ""))


def require_all_processes(found: int, asked: int | None) -> None:
    """Refuse to start with other processes than were asked for.

    Raises:
        ValueError: fewer or more take part than `asked`, or one where `accelerate launch` was to
            start several: without GPUs it starts one, and says nothing.
    """
    if asked is not None and asked != found:
        raise ValueError(
            f"{found} process(es) take part, not {asked}; launch with "
            f"`torchrun --nproc_per_node {asked} -m pelagos.pretrain …`"
        )
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ
    if asked is None and found == 1 and launched and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "accelerate launch was to start several processes and started one, as it does without "
            "GPUs; use `torchrun --nproc_per_node N -m pelagos.pretrain …`, or say --processes 1"
        )
