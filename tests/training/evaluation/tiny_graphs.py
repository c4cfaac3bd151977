"""Models small enough to be solved on paper, as ONNX graphs."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper
from scipy.stats import multivariate_normal

from tests.support.graphs import GraphBuilder, decode_graph, encode_graph
from training.data.dataset import Dataset, ImageSet
from training.onnx_graph import OnnxGraph

SIDE, LATENT, CLASSES = 8, 3, 4


@dataclass(frozen=True)
class LinearGaussian:
    """x = W z + noise, z ~ N(0, I): its likelihood is known, its approximate posterior is too wide on purpose.

    Attributes:
        W: Shape (latent_dim, pixels).
        sigma: Of the noise.
        width: Standard deviation of q(z given x) over that of the true posterior; W has orthogonal rows of one norm.
    """

    W: np.ndarray
    sigma: float
    width: float

    def posterior(self):
        """Linear map to the posterior mean, and the posterior standard deviation."""
        precision = np.eye(len(self.W)) + self.W @ self.W.T / self.sigma**2
        return (np.linalg.inv(precision) @ self.W / self.sigma**2).T, np.sqrt(1 / precision[0, 0])

    def log_likelihood(self, x):
        covariance = self.W.T @ self.W + self.sigma**2 * np.eye(self.W.shape[1])
        return multivariate_normal(np.zeros(self.W.shape[1]), covariance).logpdf(x.reshape(len(x), -1))

    def score(self):
        """`image`, `noise` to `log_weights`."""
        d, pixels = self.W.shape
        to_mean, std = self.posterior()
        std *= self.width
        constant = (d * np.log(std)) - 0.5 * pixels * np.log(2 * np.pi * self.sigma**2)
        graph = GraphBuilder("score")
        graph.input("image", "float32", 1, SIDE, SIDE)
        graph.inputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["n", "k", d]))
        graph.outputs.append(helper.make_tensor_value_info("log_weights", TensorProto.FLOAT, ["n", "k"]))
        graph.weight("to_mean", to_mean)
        graph.weight("W", self.W)
        for name, value in {"std": std, "half": 0.5, "precision": 1 / self.sigma**2, "shift": constant}.items():
            graph.constant(name, np.float32(value))
        for name, axis in {"one": 1, "two": 2}.items():
            graph.constant(name, np.array([axis], dtype=np.int64))
        graph.node("Flatten", "image", name="x", axis=1)
        graph.node("MatMul", "x", "to_mean", name="mean")
        graph.node("Unsqueeze", "mean", "one", name="means")
        graph.node("Mul", "noise", "std", name="spread")
        graph.node("Add", "means", "spread", name="z")
        graph.node("MatMul", "z", "W", name="recon")
        graph.node("Unsqueeze", "x", "one", name="xs")
        graph.node("Sub", "recon", "xs", name="residual")
        for name, values in {"miss": "residual", "prior": "z", "noise_norm": "noise"}.items():
            graph.node("ReduceSumSquare", values, "two", name=name, keepdims=0)
        graph.node("Mul", "miss", "precision", name="scaled_miss")
        graph.node("Add", "scaled_miss", "prior", name="energy")
        graph.node("Sub", "energy", "noise_norm", name="difference")
        graph.node("Mul", "difference", "half", name="halved")
        graph.node("Sub", "shift", "halved", name="log_weights")
        return OnnxGraph(graph.build())


def linear_gaussian(width):
    rng = np.random.default_rng(0)
    W = np.linalg.qr(rng.normal(size=(SIDE * SIDE, LATENT)))[0].T * 2
    return LinearGaussian(W, sigma=0.5, width=width)


def exact_score():
    """A `score` graph without noise: nats = minus the sum of squared pixels."""
    graph = GraphBuilder("score")
    graph.input("image", "float32", 1, SIDE, SIDE)
    graph.constant("axes", np.array([1, 2, 3], dtype=np.int64))
    graph.node("ReduceSumSquare", "image", "axes", name="norm", keepdims=0)
    graph.node("Neg", "norm", name="nats")
    graph.output("nats", "float32")
    return OnnxGraph(graph.build())


def discriminator(conditional=False):
    """Logit = ten times the mean pixel, plus the label where it takes one."""
    graph = GraphBuilder("discriminate")
    graph.input("image", "float32", 1, SIDE, SIDE)
    graph.constant("axes", np.array([1, 2, 3], dtype=np.int64))
    graph.constant("ten", np.float32(10))
    graph.node("ReduceMean", "image", "axes", name="mean", keepdims=0)
    graph.node("Mul", "mean", "ten", name="scaled" if conditional else "logit")
    if conditional:
        graph.input("label", "int64")
        graph.node("Cast", "label", name="number", to=TensorProto.FLOAT)
        graph.node("Add", "scaled", "number", name="logit")
    graph.output("logit", "float32")
    return OnnxGraph(graph.build())


def decoder(classes=0):
    rng = np.random.default_rng(0)
    return OnnxGraph(decode_graph("linear", LATENT, 1, SIDE, classes, 0, rng).build())


def encoder():
    """The inverse of `decoder()` on what it decodes."""
    builder = decode_graph("linear", LATENT, 1, SIDE, 0, 0, np.random.default_rng(0))
    weight = builder.weights["out.weight"]
    return OnnxGraph(encode_graph(LATENT, 1, SIDE, 0, False, np.linalg.pinv(weight)).build())


def squares(train=240, test=120, labelled=True, channels=1, side=SIDE):
    """Images with one bright quadrant, which is their label, on faint noise."""
    rng = np.random.default_rng(1)
    labels = rng.integers(CLASSES, size=train + test)
    images = rng.integers(0, 60, size=(train + test, side, side, channels), dtype=np.uint8)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        row, column = half * (label // 2), half * (label % 2)
        image[row : row + half, column : column + half] += 180
    parts = [ImageSet(images[part], labels[part] if labelled else None) for part in (slice(train), slice(train, None))]
    return Dataset("squares", f"{int(labelled)}{channels}" * 32, parts[0], parts[1], None, "CC0", "nobody")
