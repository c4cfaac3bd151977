"""A graph that breaks a law is not published."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bundle.manifest import TensorSpec
from tests.training.samples import context, digits, recipe
from training.errors import ExportError
from training.export.laws import check_laws, check_no_paths
from training.export.onnx_file import to_onnx
from training.families.base import Graph, build_family
from training.families.graphs import image_spec, pixels_spec, to_pixels, vector_spec

DIM = 4


class Law(nn.Module):
    """A linear map and what follows it."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, DIM)
        self.then = then

    def forward(self, z: Tensor) -> Tensor:
        """(n, 4) → whatever."""
        return self.then(self.linear(z))


def checked(
    then: Callable[[Tensor], Tensor], output: TensorSpec | None = None, other: nn.Module | None = None
) -> float:
    torch.manual_seed(0)
    module = Law(then).eval()
    graph = Graph(module, [vector_spec("z", DIM)], [output or vector_spec("out", DIM)])
    family = build_family(context(recipe("gan", {"latent_dim": DIM, "channels": 2, "d_channels": 2}), digits()))
    return check_laws("decode", graph, other or module, to_onnx(module, graph, half=False), family, digits())


def test_lawful_graph_is_given_a_tolerance() -> None:
    assert 1e-4 <= checked(torch.tanh) < 1e-2


def test_row_that_depends_on_its_neighbours_is_refused() -> None:
    with pytest.raises(ExportError, match=r"its last row differs by .* from the same row run alone"):
        checked(lambda x: x - x.mean(0, keepdim=True))


@pytest.mark.parametrize(
    ("then", "operator"),
    [
        (lambda x: x + torch.rand_like(x), "RandomUniformLike"),
        (lambda x: x + torch.randn_like(x), "RandomNormalLike"),
        (lambda x: x.sort(dim=1).values, "TopK"),
    ],
)
def test_operator_that_is_random_or_not_on_the_list_is_refused(then: Callable[[Tensor], Tensor], operator: str) -> None:
    with pytest.raises(ExportError, match=rf"uses \['{operator}'\]; allowed are Abs, Add"):
        checked(then)


def test_output_of_another_shape_or_type_than_its_interface_is_refused() -> None:
    with pytest.raises(ExportError, match=r"float32\(1, 8\); the interface says float32\('n', 4\)"):
        checked(lambda x: torch.cat([x, x], dim=1))
    with pytest.raises(ExportError, match="int64"):
        checked(lambda x: x.long())


def test_image_out_of_range_is_refused() -> None:
    spec = TensorSpec(name="image", dtype="float32", shape=("n", 1, 2, 2))
    with pytest.raises(ExportError, match=r"images are in \[-1, 1\]"):
        checked(lambda x: (10 + x).reshape(-1, 1, 2, 2), spec)


def test_file_that_disagrees_with_torch_is_refused() -> None:
    with pytest.raises(ExportError, match="differs from PyTorch by"):
        checked(torch.tanh, other=Law(lambda x: x.tanh() + 0.01).eval())


def test_output_that_is_no_number_is_refused() -> None:
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        checked(lambda x: (x - x) / (x - x))


def test_path_of_this_machine_inside_a_file_is_refused() -> None:
    with pytest.raises(ExportError, match=r"decode\.pt holds the path"):
        check_no_paths("decode.pt", b"\x00" + str(Path(__file__).parents[2] / "model.py").encode())
    check_no_paths("decode.pt", b"training/families/vae.py")


def test_pixels_are_rounded_and_clipped_and_have_their_channels_last() -> None:
    levels = torch.tensor([-2.0, -1.0, -0.9961, -0.996, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 7)
    assert to_pixels(levels).flatten().tolist() == [0, 0, 0, 1, 128, 255, 255]
    assert image_spec((3, 2, 5)).shape == ("n", 3, 2, 5)
    assert pixels_spec((3, 2, 5)).shape == ("n", 2, 5, 3)
    assert to_pixels(torch.zeros(4, 3, 2, 5)).shape == (4, 2, 5, 3)
