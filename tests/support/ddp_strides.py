"""Run by torchrun in test_sharded.py: gradients lie in memory as distributed training keeps them.

Others are copied into its buckets, and PyTorch warns of it once in a process.
"""

import sys
import warnings

import torch
from accelerate import Accelerator
from processes import leave
from sharded_precision import OPERATORS, fresh, window


def main(name):
    model = Accelerator(cpu=True).prepare(fresh(name))
    inputs = window(model.module.history)
    for _ in range(2):  # buckets are made anew after the first pass
        model(inputs).sub(inputs.target).square().mean().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.stride() == parameter.stride(), (name, key)


if __name__ == "__main__":
    torch.set_warn_always(True)
    warnings.filterwarnings("error", message="(?s).*Grad strides do not match")
    for operator in sys.argv[1:] or OPERATORS:
        main(operator)
    leave()
