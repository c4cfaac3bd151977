"""The arrows between the parts: training → bundle ← service, training → jobs ← service, jobs → bundle; no others.

Every file is parsed, not imported, so a part is checked with whatever extras are installed.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"bundle", "jobs", "service", "training", "tests"}
WEB = {"fastapi", "starlette", "uvicorn"}
LAZY_TORCH = Path("service/engine/runtimes/torchscript.py")
UPLOADS = "bundle/uploads/"  # where image files of strangers are read: Pillow is in the extras that import it
LEAVES = [Path("bundle/errors.py"), Path("jobs/errors.py"), Path("service/errors.py"), Path("service/settings.py")]


@dataclass(frozen=True)
class Import:
    """One imported module: where, its full name, and whether it waits until a function is called."""

    place: str
    module: str
    lazy: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def imports_of(path: Path) -> list[Import]:
    """Every import of a file, relative ones made absolute; `path` is relative to the repository."""
    return list(_imports(path, ast.parse((ROOT / path).read_text(encoding="utf-8")), lazy=False))


def _imports(path: Path, node: ast.AST, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for module in _modules(path, child):
            yield Import(f"{path}:{getattr(child, 'lineno', 0)}", module, lazy)
        yield from _imports(path, child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _modules(path: Path, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = list(path.parent.parts)[: len(path.parent.parts) - node.level + 1] if node.level else []
        return [".".join([*base, *([node.module] if node.module else [])])]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {
        "importlib.import_module",
        "import_module",
        "__import__",
    }:
        return [str(node.args[0].value)] if isinstance(node.args[0], ast.Constant) else []
    return []


def part(name: str) -> list[Import]:
    """Imports of all files of a part; fails if the part has moved away."""
    files = [path.relative_to(ROOT) for path in sorted((ROOT / name).rglob("*.py"))]
    assert files, f"no files in {name}/"
    return [found for file in files for found in imports_of(file)]


def test_bundle_needs_numpy_pydantic_and_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"bundle", "numpy", "pydantic", "pydantic_core"}
    others = [found for found in part("bundle") if found.package not in allowed]
    assert [found for found in others if (found.package, found.place.startswith(UPLOADS)) != ("PIL", True)] == []


def test_jobs_needs_the_bundle_a_database_and_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"bundle", "jobs", "psycopg", "pydantic", "sqlalchemy"}
    assert [found for found in part("jobs") if found.package not in allowed] == []


def test_the_queue_is_known_to_the_worker_only() -> None:
    queue = [
        found for name in ("bundle", "jobs", "service", "training") for found in part(name) if found.package == "dbos"
    ]
    assert [found for found in queue if not found.place.startswith("training/worker/")] == []


def test_service_never_imports_training() -> None:
    assert [found for found in part("service") if found.package == "training"] == []


def test_service_imports_torch_in_functions_of_the_torchscript_runtime_only() -> None:
    torch = [found for found in part("service") if found.package in {"torch", "torchvision"}]
    assert [found for found in torch if not found.lazy or not found.place.startswith(f"{LAZY_TORCH}:")] == []


def test_training_never_imports_service_or_the_web_stack() -> None:
    assert [found for found in part("training") if found.package in WEB | {"service"}] == []


@pytest.mark.parametrize("name", ["bundle", "jobs", "service", "training"])
def test_what_is_shipped_never_imports_the_tests(name: str) -> None:
    assert [found for found in part(name) if found.package == "tests"] == []


@pytest.mark.parametrize("path", LEAVES, ids=str)
def test_errors_and_settings_import_nothing_of_ours(path: Path) -> None:
    assert [found for found in imports_of(path) if found.package in OURS] == []


def test_types_import_nothing_of_ours() -> None:
    types = [path.relative_to(ROOT) for name in OURS for path in (ROOT / name).rglob("types.py")]
    assert [found for path in types for found in imports_of(path) if found.package in OURS] == []


def test_the_wiring_is_imported_by_the_processes_only() -> None:
    importers = {found.place.partition(":")[0] for found in part("service") if found.module == "service.app"}
    assert {Path(importer).parent for importer in importers} == {Path("service/processes")}


def test_the_parser_of_this_file_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "service" / "engine").mkdir(parents=True)
    path = Path("service/engine/module.py")
    (tmp_path / path).write_text(
        "import torch.nn as nn\n"
        "from ..errors import X\n"
        "from . import lanes\n"
        "if True:\n    from training import vae\n"
        "class A:\n    async def f(self):\n        import torch\n"
        "import importlib\nimportlib.import_module('fastapi')\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert [(found.module, found.lazy) for found in imports_of(path)] == [
        ("torch.nn", False),
        ("service.errors", False),
        ("service.engine", False),
        ("training", False),
        ("torch", True),
        ("importlib", False),
        ("fastapi", False),
    ]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("service.app", {"torch", "training"}),
        ("bundle.store", {"torch", "onnxruntime", "fastapi", "jobs", "service", "training"}),
        ("bundle.uploads.record", {"PIL", "torch", "fastapi", "jobs", "service", "training"}),
        ("jobs.ledger", {"torch", "onnxruntime", "fastapi", "dbos", "psycopg", "service", "training"}),
    ],
)
def test_importing_a_part_leaves_out_what_it_may_not_need(module: str, unwanted: set[str]) -> None:
    """In a process of its own, so that libraries' own imports count and this process's do not."""
    code = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []
