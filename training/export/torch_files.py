"""Modules as TorchScript and as torch.export programs: optional files, made again from recipe and weights."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from training.export.onnx_file import example_inputs, free_axes
from training.families.base import Graph

_COUNT = re.compile(rb"___torch_mangle_(\d+)")  # in a module path, which ends with a line: no length to mend


def to_torchscript(module: nn.Module, graph: Graph) -> bytes:
    """A traced module as bytes, the same each time, without the debug records that hold source paths.

    TorchScript is deprecated: where torch refuses, the caller records why and goes on.
    """
    torch._C._jit_clear_class_registry()  # else the names of classes depend on what was traced before
    with _ignoring_deprecation():
        traced = torch.jit.trace(module, example_inputs(graph), check_trace=False)  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    return _cleaned(buffer.getvalue())


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


def _cleaned(raw: bytes) -> bytes:
    """The archive without debug records, its classes numbered from 0: torch counts through the life of a process."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(raw))
    names = [
        name
        for name in reader.get_all_records()
        if not name.endswith(".debug_pkl") and not name.startswith(".data/") and name != "version"
    ]
    records = {name: reader.get_record(name) for name in names}
    code = {name for name in names if name == "data.pkl" or name.startswith("code/")}
    counts = {int(n) for name in code for n in _COUNT.findall(name.encode() + records[name])}
    order = {count: i for i, count in enumerate(sorted(counts))}

    def renumbered(text: bytes) -> bytes:
        return _COUNT.sub(lambda match: b"___torch_mangle_%d" % order[int(match[1])], text)

    cleaned = {
        renumbered(name.encode()).decode() if name in code else name: renumbered(record) if name in code else record
        for name, record in records.items()
    }
    out = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(out)
    for name, record in sorted(cleaned.items()):
        writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return out.getvalue()


@contextlib.contextmanager
def _ignoring_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
