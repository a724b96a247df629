from dataclasses import dataclass
from typing import Literal

from pelagos.finetune.adapt import Method


@dataclass(frozen=True)
class BiasesConfig:
    name: Literal["biases"] = "biases"
    also: str = "lift"  # what is trained whole, beside the biases


class Biases(Method[BiasesConfig]):  # train little more than the biases
    Config = BiasesConfig
    remedy = "name them in method.also"

    def prepare(self, operator, seed):
        named = dict(operator.named_parameters())
        trained = ("bias", self.config.also)
        kept = tuple(name for name in named if not any(word in name for word in trained))
        for name in kept:
            named[name].requires_grad_(False)
        return kept
