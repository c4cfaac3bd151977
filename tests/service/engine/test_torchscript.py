"""The reference runtime: torch, only when it is asked for, only from files whose hash is known."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bundle.hashing import record
from bundle.optional import OptionalFiles, write_optional
from bundle.store import Bundle
from service.catalog import Catalog
from service.errors import ModelRefusedError, StartupError
from service.settings import Settings
from tests.service.engine.fakes import Array, run
from tests.support.bundles import publish, spoil

torch = pytest.importorskip("torch")

Z = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)


class Decode(torch.nn.Module):  # type: ignore[misc, name-defined]
    """The linear decoder of the tiny bundles."""

    def __init__(self, weights: dict[str, Array]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(weights["out.weight"]))
        self.bias = torch.nn.Parameter(torch.from_numpy(weights["out.bias"]))

    def forward(self, z: Any) -> tuple[Any, Any]:
        image = (z @ self.weight + self.bias).reshape(-1, 1, 8, 8).clamp(-1, 1)
        pixels = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return image, pixels.permute(0, 2, 3, 1)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle whose decoder has its TorchScript file."""
    made = publish(tmp_path, graphs=["decode"])
    module = Decode(load_file(made.path / "weights.safetensors")).eval()
    torch.jit.trace(module, torch.from_numpy(Z[:2])).save(str(made.path / "decode.pt"))
    files = {"decode.pt": record(made.path, "decode.pt")}
    write_optional(made.path, OptionalFiles(torch=torch.__version__, files=files))
    return made


def settings(bundle: Bundle, **others: object) -> Settings:
    chosen = {"store": bundle.path.parent.parent, "runtime": "torchscript", "device": "cpu", "lanes": 2} | others
    return Settings(**chosen)  # type: ignore[arg-type]


def draw(chosen: Settings, sizes: list[int]) -> Array:
    """Pixels of the first codes, asked for in requests of these sizes at once."""
    found: list[Array] = []

    async def main() -> None:
        catalog = await Catalog.open(chosen)
        model = catalog.get("tiny")
        starts = np.cumsum([0, *sizes[:-1]])
        calls = [model.run("decode", {"z": Z[i : i + n]}, ["pixels"]) for i, n in zip(starts, sizes, strict=True)]
        found.extend(answer["pixels"] for answer in await asyncio.gather(*calls))
        await catalog.close(5)

    run(main())
    return np.concatenate(found)


def test_it_draws_what_onnxruntime_draws(bundle: Bundle) -> None:
    ours = draw(settings(bundle), [40])
    theirs = draw(settings(bundle, runtime="onnxruntime"), [40])
    assert np.mean(ours != theirs) < 0.01
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_its_bytes_do_not_depend_on_the_batch_either(bundle: Bundle) -> None:
    whole = draw(settings(bundle), [40])
    assert draw(settings(bundle), [1] * 40).tobytes() == whole.tobytes()
    assert draw(settings(bundle), [3, 1, 20, 7, 9]).tobytes() == whole.tobytes()


def test_provider_says_torch_and_the_device(bundle: Bundle) -> None:
    async def main() -> None:
        catalog = await Catalog.open(settings(bundle))
        assert (catalog.get("tiny").runtime, catalog.get("tiny").provider) == ("torchscript", "torch:cpu")
        await catalog.close(5)

    run(main())


def refused_with(bundle: Bundle, reason: str) -> None:
    async def main() -> None:
        catalog = await Catalog.open(settings(bundle))
        with pytest.raises(ModelRefusedError, match=reason):
            catalog.get("tiny")
        await catalog.close(5)

    run(main())


def test_file_of_another_hash_is_never_given_to_torch(bundle: Bundle) -> None:
    spoil(bundle.path / "decode.pt")
    refused_with(bundle, r"decode\.pt has sha256")


def test_bundle_without_the_optional_file_says_how_to_make_it(tmp_path: Path) -> None:
    refused_with(publish(tmp_path), r"decode\.pt is not there.*python -m training export tiny")


def test_file_that_torch_refused_to_make_says_why(tmp_path: Path) -> None:
    bundle = publish(tmp_path)
    write_optional(bundle.path, OptionalFiles(torch="9", unavailable={"decode.pt": "no tracing of loops"}))
    refused_with(bundle, "no tracing of loops")


def test_cuda_that_torch_does_not_see_ends_the_start(bundle: Bundle) -> None:
    index = torch.cuda.device_count()
    with pytest.raises(StartupError, match=f"sees {index} CUDA devices"):
        draw(settings(bundle, device=f"cuda:{index}"), [1])


def test_missing_torch_ends_the_start_with_what_to_do(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(StartupError, match="set runtime to 'onnxruntime'"):
        draw(settings(bundle), [1])


def test_engine_does_not_import_torch_unless_asked() -> None:
    code = "import sys, service.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
