# Targets: `service` (CPU, the default), `service-gpu` (CUDA), `training` (the worker and the other commands). See docs/containers.md.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
# onnxruntime-gpu is built for CUDA 13 and cuDNN 9. The Python of this image is Ubuntu's, 3.12.
ARG CUDA_IMAGE=nvidia/cuda:13.1.1-cudnn-runtime-ubuntu24.04
# Where `training` has torch from: `wheels`, the folder, if there is one in it; or `index`, which for Linux has it with CUDA.
ARG TORCH=wheels


# --- packages: installed from pyproject.toml alone, so that a change of the code installs nothing again ---

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
COPY pyproject.toml constraints.txt ./
# pyproject.toml names these two; what is in them does not matter here.
RUN touch README.md LICENSE && python -m venv --without-pip /opt/venv

FROM packages AS service-packages
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --constraint constraints.txt '.[service,otel]'
# What serving never loads: tests, sources for compilers, other databases' dialects, AVIF, onnxruntime's developer tools and
# its C library (the Python module has its own); and what debuggers read in two packages.
# hadolint ignore=DL3003
RUN cd /opt/venv/lib/python3*/site-packages \
    && find . -type d -name tests -prune -exec rm -rf {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete \
    && rm -rf onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
        numpy/distutils numpy/f2py sqlalchemy/testing sqlalchemy/dialects/mssql sqlalchemy/dialects/mysql sqlalchemy/dialects/oracle \
    && rm onnxruntime/capi/libonnxruntime.so.* PIL/_avif.*.so pillow.libs/libavif-* \
    && find sqlalchemy uvloop -name '*.so' -exec strip --strip-unneeded {} +

FROM packages AS training-packages-wheels
# The folder may be empty or missing: torch then comes from pip's index, too.
COPY wheels*/*.whl /wheels/
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p /wheels \
    && pip --python /opt/venv/bin/python install --find-links /wheels --constraint constraints.txt '.[training]'

FROM packages AS training-packages-index
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --constraint constraints.txt '.[training]'

# hadolint ignore=DL3006
FROM training-packages-${TORCH} AS training-packages

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
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    GENSERVE_DATABASE=sqlite:////runs/jobs.sqlite GENSERVE_DATA=/data GENSERVE_UPLOADS=/uploads
RUN groupadd --gid 10001 genserve \
    && useradd --uid 10001 --gid genserve --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin genserve \
    && install --directory --owner=genserve --group=genserve /data /runs /uploads
COPY --from=training-packages /opt/venv /opt/venv
WORKDIR /srv/genserve
COPY bundle bundle
COPY jobs jobs
COPY training training
COPY configs configs
RUN chmod -R a+rX . && python -m compileall -q .
COPY --chown=10001:10001 models /models
USER 10001:10001
ENTRYPOINT ["python", "-m", "training", "--store", "/models", "--runs", "/runs"]
CMD ["worker"]

FROM cuda AS service-gpu
# `cuda`, not `auto`: a container that cannot use its GPU ends at the start instead of serving slowly.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    GENSERVE_HOST=0.0.0.0 GENSERVE_PORT=8000 GENSERVE_STORE=/models \
    GENSERVE_DATABASE=sqlite:////runs/jobs.sqlite GENSERVE_DATA=/data GENSERVE_UPLOADS=/uploads GENSERVE_DEVICE=cuda
RUN groupadd --gid 10001 genserve \
    && useradd --uid 10001 --gid genserve --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin genserve \
    && install --directory --owner=genserve --group=genserve /data /runs /secrets /uploads
COPY --from=service-gpu-packages /opt/venv /opt/venv
WORKDIR /srv/genserve
COPY bundle bundle
COPY jobs jobs
COPY service service
COPY configs configs
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
    GENSERVE_HOST=0.0.0.0 GENSERVE_PORT=8000 GENSERVE_STORE=/models \
    GENSERVE_DATABASE=sqlite:////runs/jobs.sqlite GENSERVE_DATA=/data GENSERVE_UPLOADS=/uploads
RUN groupadd --gid 10001 genserve \
    && useradd --uid 10001 --gid genserve --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin genserve \
    && install --directory --owner=genserve --group=genserve /data /runs /secrets /uploads
COPY --from=service-packages /opt/venv /opt/venv
WORKDIR /srv/genserve
COPY bundle bundle
COPY jobs jobs
COPY service service
COPY configs configs
RUN chmod -R a+rX . && python -m compileall -q .
COPY --chown=10001:10001 models /models
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', os.environ['GENSERVE_PORT'], timeout=2); \
    c.request('GET', '/health/live'); exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "service"]
