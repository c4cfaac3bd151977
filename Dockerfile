# Targets: `service` (CPU, the default), `service-gpu` (CUDA), `training`. See docs/containers.md.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
# onnxruntime-gpu is built for CUDA 13 and cuDNN 9. The Python of this image is Ubuntu's, 3.12.
ARG CUDA_IMAGE=nvidia/cuda:13.1.1-cudnn-runtime-ubuntu24.04


# --- packages: installed from pyproject.toml alone, so that a change of the code installs nothing again ---

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
COPY pyproject.toml constraints.txt ./
# pyproject.toml names these two; what is in them does not matter here.
RUN touch README.md LICENSE && python -m venv --without-pip /opt/venv

FROM packages AS service-packages
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --constraint constraints.txt '.[service,otel]'
# 56 MB that serving never loads: tests, onnxruntime's developer tools, its C library (the Python module has its own).
RUN find /opt/venv -type d -name tests -prune -exec rm -rf {} + \
    && packages=$(echo /opt/venv/lib/python3*/site-packages/onnxruntime) \
    && rm -rf "$packages/datasets" "$packages/quantization" "$packages/tools" "$packages/transformers" \
    && rm "$packages"/capi/libonnxruntime.so.*

FROM packages AS training-packages
# The folder may be empty or missing: torch then comes from pip's index, for Linux with CUDA (gigabytes).
COPY wheels*/*.whl /wheels/
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p /wheels \
    && pip --python /opt/venv/bin/python install --find-links /wheels --constraint constraints.txt '.[training]'

FROM ${CUDA_IMAGE} AS cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM cuda AS service-gpu-packages
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    touch README.md LICENSE \
    && python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/pip/bin/pip --python /opt/venv/bin/python install --constraint constraints.txt '.[service-gpu,otel]'


# --- images: bytecode is made here, because nothing can be written into a read-only root ---

FROM ${PYTHON_IMAGE} AS training
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp GENSERVE_DATA=/data
RUN groupadd --gid 10001 genserve \
    && useradd --uid 10001 --gid genserve --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin genserve \
    && install --directory --owner=genserve --group=genserve /data /runs
COPY --from=training-packages /opt/venv /opt/venv
WORKDIR /srv/genserve
COPY bundle bundle
COPY training training
COPY configs configs
RUN chmod -R a+rX . && python -m compileall -q .
COPY --chown=10001:10001 models /models
USER 10001:10001
ENTRYPOINT ["python", "-m", "training", "--store", "/models", "--runs", "/runs"]
CMD ["list"]

FROM cuda AS service-gpu
# `cuda`, not `auto`: a container that cannot use its GPU ends at the start instead of serving slowly.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    GENSERVE_HOST=0.0.0.0 GENSERVE_PORT=8000 GENSERVE_STORE=/models GENSERVE_DEVICE=cuda
RUN groupadd --gid 10001 genserve \
    && useradd --uid 10001 --gid genserve --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin genserve
COPY --from=service-gpu-packages /opt/venv /opt/venv
WORKDIR /srv/genserve
COPY bundle bundle
COPY service service
RUN chmod -R a+rX . && python -m compileall -q .
COPY --chown=10001:10001 models /models
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', os.environ['GENSERVE_PORT'], timeout=2); \
    c.request('GET', '/health/live'); exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "service"]

FROM ${PYTHON_IMAGE} AS service
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    GENSERVE_HOST=0.0.0.0 GENSERVE_PORT=8000 GENSERVE_STORE=/models
RUN groupadd --gid 10001 genserve \
    && useradd --uid 10001 --gid genserve --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin genserve
COPY --from=service-packages /opt/venv /opt/venv
WORKDIR /srv/genserve
COPY bundle bundle
COPY service service
RUN chmod -R a+rX . && python -m compileall -q .
COPY --chown=10001:10001 models /models
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', os.environ['GENSERVE_PORT'], timeout=2); \
    c.request('GET', '/health/live'); exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "service"]
