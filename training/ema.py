"""An exponential moving average of all that networks learn, running statistics included."""

import torch
from torch import Tensor, nn


class Ema:
    """Averaged copy of a module's floating-point state; the rest is copied.

    Yazıcı et al., "The unusual effectiveness of averaging in GAN training", ICLR 2019,
    https://arxiv.org/abs/1806.04498.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """`decay` per update; it ramps up at first, so that the random start is soon forgotten."""
        self.decay = decay
        self.state: dict[str, Tensor] = {name: value.clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, updates: int) -> None:
        """Move towards the module; `updates` is how often this was done before."""
        weight = 1 - min(self.decay, (1 + updates) / (10 + updates))
        floats, targets = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                floats.append(self.state[name])
                targets.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(floats, targets, weight)
