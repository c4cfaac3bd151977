"""Nobody is told about the use of this software."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = """
import {package}
import onnxruntime
onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
"""
MODEL = Path(__file__).parents[1] / "models" / "mnist-vae" / "1" / "decode.onnx"


@pytest.mark.parametrize("package", ["service", "training", "benchmarks"])
def test_onnxruntime_keeps_no_record_for_its_maker(package: str, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    program = LOAD.format(package=package, model=str(MODEL))
    home = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=own | home, check=True)
    assert list(tmp_path.iterdir()) == []
