from dataclasses import dataclass
from typing import Literal

from pelagos.pretrain.objectives import Objective, ObjectiveConfig, loss_of


@dataclass(frozen=True)
class SobolevConfig(ObjectiveConfig):
    kind: Literal["sobolev"] = "sobolev"
    slopes: float = 0.1  # weight of the error of differences between neighbours


class Sobolev(Objective[SobolevConfig]):  # the slopes of a prediction are to be right, too
    Config = SobolevConfig

    def loss(self, model, window, normalizer, seed):
        prediction = model(window)
        loss = loss_of(self.config.loss, prediction, window, normalizer)
        for axis in range(3, prediction.ndim):  # (B, T, C, *S)
            truth = window.target.diff(dim=axis)
            error = prediction.diff(dim=axis) - truth
            loss = loss + self.config.slopes * error.square().sum() / truth.square().sum()
        return loss
