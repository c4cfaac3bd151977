"""Formulas that are stable in PyTorch must be so in the exported file too."""

import numpy as np
import torch
from torch import Tensor, nn

from bundle.manifest import TensorSpec
from training.export.onnx_file import to_onnx
from training.families.base import Graph
from training.objectives.elbo import bernoulli_log_likelihood
from training.onnx_graph import OnnxGraph

SHAPE = ("n", 1, 2, 2)


class Likelihood(nn.Module):
    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        return bernoulli_log_likelihood(x, logits)


def test_bernoulli_likelihood_is_finite_in_onnx_at_the_logits_of_a_trained_model() -> None:
    inputs = [TensorSpec(name=name, dtype="float32", shape=SHAPE) for name in ("x", "logits")]
    graph = Graph(Likelihood(), inputs, [TensorSpec(name="nats", dtype="float32", shape=("n",))])
    x = np.array([[0, 1, 0, 1], [1, 0, 0.5, 0.2]], np.float32).reshape(2, 1, 2, 2)
    logits = np.array([[-300, 300, 120, -120], [-0.5, 0.5, 2, -90]], np.float32).reshape(2, 1, 2, 2)
    found = OnnxGraph(to_onnx(Likelihood(), graph, half=False)).run(x=x, logits=logits)["nats"]
    want = torch.distributions.Bernoulli(logits=torch.from_numpy(logits).double(), validate_args=False)
    expected = want.log_prob(torch.from_numpy(x).double()).flatten(1).sum(1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
