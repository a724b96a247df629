"""Fine-tuning methods by name: the key `method.name` of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....datasets.base.registry import Registry

if TYPE_CHECKING:
    from .base import Method

METHODS: Registry[type[Method[Any]]] = Registry(
    "pelagos.methods",
    "fine-tuning method",
    {
        "full": "pelagos.finetune.adapt.methods.full:Full",
        "freeze": "pelagos.finetune.adapt.methods.freeze:Freeze",
        "lora": "pelagos.finetune.adapt.methods.lora:LoRA",
    },
)


def method_of(config: Any) -> Method[Any]:
    """The method that a config describes by its `name`."""
    return METHODS.get(config.name)(config)
