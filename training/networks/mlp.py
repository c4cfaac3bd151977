"""Fully connected networks, with the GAN paper's maxout.

Goodfellow, Warde-Farley, Mirza, Courville, Bengio, "Maxout networks", ICML 2013, https://arxiv.org/abs/1302.4389.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class Maxout(nn.Module):
    """The largest of `pieces` linear maps, unit by unit: (n, inputs) → (n, outputs)."""

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) → (n, outputs)."""
        pieces: Tensor = self.linear(x).unflatten(1, (-1, self.pieces))
        return pieces.amax(2)


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them: (n, inputs) → (n, outputs)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def maxout_features(inputs: int, hidden: Sequence[int], pieces: int, dropout: float) -> nn.Sequential:
    """The GAN paper's discriminator up to its last layer: dropout and maxout, (n, inputs) → (n, hidden[-1])."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Dropout(dropout), Maxout(inputs, width, pieces)]
        inputs = width
    return nn.Sequential(*layers, nn.Dropout(dropout))
