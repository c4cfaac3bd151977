"""The REST service: HTTP, batching engine, runtimes, images. Never imports torch, but for the TorchScript runtime."""

import os

# onnxruntime's official builds tell their maker about their use, unless this is set before they are imported. Whoever
# wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
