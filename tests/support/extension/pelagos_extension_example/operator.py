from dataclasses import dataclass

from pelagos.operators import Operator
from pelagos.operators.layers.convolution import Convolution


@dataclass(frozen=True)
class StencilConfig:
    ndim: int
    history: int = 1
    size: int = 3  # points per axis, odd


class Stencil(Operator):  # the next frame is one convolution of the last ones
    name, Config = "stencil", StencilConfig

    def __init__(self, config, description):
        super().__init__(config, description)
        inputs, outputs = config.history * len(description.channels), len(description.fields)
        self.convolution = Convolution(config.ndim, inputs, outputs, config.size)

    def reset(self, generator):
        self.convolution.reset(generator)

    def step(self, state, dt, observation=None):
        self.check_step(state, dt, observation)
        scaling = self.scaling(state)
        output = self.convolution(scaling.encode(state.history).flatten(1, 2))
        fields = scaling.decode(output, state.history[:, -1])
        return state.advance(fields, dt), fields
