"""Modules as TorchScript and as torch.export programs: optional files, made again from recipe and weights."""

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from training.export.onnx_file import example_inputs, free_axes
from training.families.base import Graph


def to_torchscript(module: nn.Module, graph: Graph) -> bytes:
    """A traced module, without the debug records that hold source paths.

    TorchScript is deprecated: where torch refuses, the caller records why and goes on.
    """
    with _ignoring_deprecation():
        traced = torch.jit.trace(module, example_inputs(graph), check_trace=False)  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    return _without_debug_records(buffer.getvalue())


def to_program(module: nn.Module, graph: Graph) -> bytes:
    """A `torch.export` program, TorchScript's successor, without stack traces."""
    with _ignoring_deprecation():
        program = torch.export.export(module, example_inputs(graph), dynamic_shapes=free_axes(graph))
        for part in program.graph_module.modules():
            if isinstance(part, torch.fx.GraphModule):
                for node in part.graph.nodes:
                    node.meta.pop("stack_trace", None)
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    return buffer.getvalue()


def load_torchscript(file: io.BytesIO) -> nn.Module:
    """Read a TorchScript file back."""
    with _ignoring_deprecation():
        module: nn.Module = torch.jit.load(file)  # type: ignore[no-untyped-call]
        return module


def load_program(file: io.BytesIO) -> nn.Module:
    """Read a `torch.export` program back, as a module."""
    with _ignoring_deprecation():
        return torch.export.load(file).module()


def _without_debug_records(raw: bytes) -> bytes:
    reader = torch._C.PyTorchFileReader(io.BytesIO(raw))
    out = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(out)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and not name.startswith(".data/") and name != "version":
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return out.getvalue()


@contextlib.contextmanager
def _ignoring_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
