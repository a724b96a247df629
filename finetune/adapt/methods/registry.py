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
        "head": "pelagos.finetune.adapt.methods.head:Head",
        "unfreeze": "pelagos.finetune.adapt.methods.unfreeze:Unfreeze",
        "lora": "pelagos.finetune.adapt.methods.lora:LoRA",
        "bands": "pelagos.finetune.adapt.methods.bands:Bands",
    },
)


def method_of(config: Any) -> Method[Any]:
    """The method that a config describes by its `name`."""
    return METHODS.get(config.name)(config)
