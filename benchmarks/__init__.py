"""The service against other servers and the bare runtime, on this machine, in one run; under overload; for long."""

import os

# onnxruntime's official builds tell their maker about their use, unless this is set before they are imported. Whoever
# wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
