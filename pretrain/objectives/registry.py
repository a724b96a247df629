"""Objectives by name: the key `objective.kind` of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...datasets.base.registry import Registry

if TYPE_CHECKING:
    from .base import Objective, ObjectiveConfig

OBJECTIVES: Registry[type[Objective[Any]]] = Registry(
    "pelagos.objectives",
    "objective",
    {
        "rollout": "pelagos.pretrain.objectives.rollout:Rollout",
        "pushforward": "pelagos.pretrain.objectives.pushforward:Pushforward",
        "forced": "pelagos.pretrain.objectives.forced:Forced",
        "diverted": "pelagos.pretrain.objectives.diverted:Diverted",
        "all2all": "pelagos.pretrain.objectives.all2all:All2All",
        "assimilation": "pelagos.pretrain.objectives.assimilation:Assimilation",
    },
)


def objective_of(config: ObjectiveConfig) -> Objective[Any]:
    """The objective that a config describes."""
    return OBJECTIVES.get(config.kind)(config)
