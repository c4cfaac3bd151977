"""What happens to a module before it is exported: batch norm is folded, weights take the values that are stored."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.families.base import Graph
from training.recipe import ExportRecipe


@torch.no_grad()
def prepared(graph: Graph, export: ExportRecipe) -> nn.Module:
    """A copy of the graph's module in eval mode, ready to be exported: the same weights always give the same copy."""
    module = copy.deepcopy(graph.module).eval().requires_grad_(False)
    for part in list(module.modules()):
        if isinstance(part, nn.Sequential):
            _fold_batch_norms(part)
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if export.storage == "float16":
        round_to_half(module.state_dict())
    return module


@torch.no_grad()
def round_to_half(state: dict[str, torch.Tensor]) -> None:
    """Give every float of a state, in place, the nearest value that float16 can hold."""
    for value in state.values():
        if value.is_floating_point():
            value.copy_(value.half().float())


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """Replace linear maps followed by batch norm with one linear map."""
    for i, layer in enumerate(layers):
        if not isinstance(layer, nn.BatchNorm2d):
            continue
        before = layers[i - 1]
        if isinstance(before, nn.Conv2d | nn.ConvTranspose2d):
            layers[i - 1] = fuse_conv_bn_eval(before, layer, transpose=isinstance(before, nn.ConvTranspose2d))
        elif isinstance(before, nn.Unflatten) and isinstance(linear := layers[i - 2], nn.Linear):
            _fold_into_linear(linear, layer)
        else:
            continue
        layers[i] = nn.Identity()


def _fold_into_linear(linear: nn.Linear, norm: nn.BatchNorm2d) -> None:
    """Linear → unflatten to maps → batch norm: scale the rows that belong to each map."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    repeats = linear.out_features // norm.num_features
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    linear.weight.mul_(scale.repeat_interleave(repeats)[:, None])
    linear.bias = nn.Parameter(bias * scale.repeat_interleave(repeats) + shift.repeat_interleave(repeats), False)
