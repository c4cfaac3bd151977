# The files and the image of the service; sourced by scripts/containers.sh.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # variables are shared

LIMIT_BYTES=400000000
DRAIN_S=30 # as GENSERVE_DRAIN_S

small() {
    local bytes
    bytes=$(docker image inspect --format '{{.Size}}' "$IMAGE")
    echo "$IMAGE has $bytes bytes, the limit is $LIMIT_BYTES"
    [ "$bytes" -lt "$LIMIT_BYTES" ]
}

check_files() {
    check "the compose file is valid" docker compose config --quiet
    check "the compose file is valid with every profile" docker compose --profile gpu --profile observability config --quiet
    local hadolint
    for hadolint in "$(dirname "$PYTHON")/hadolint" "$(command -v hadolint || true)"; do
        if [ -x "$hadolint" ]; then check "hadolint finds nothing" "$hadolint" Dockerfile; return; fi
    done
}

# torch for the CPU, as this machine's own environment has it: an index may have only the one with CUDA, which is gigabytes.
fetch_wheel() {
    local version
    if ls wheels/torch-*.whl >/dev/null 2>&1; then return; fi
    if version=$("$PYTHON" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null) \
        && "$PYTHON" -m pip download --quiet --no-deps --dest wheels "torch==$version" >/dev/null 2>&1; then
        echo "wheels/ has torch $version now"
    else
        echo "note: no wheel of torch in wheels/; the build takes what pip finds"
    fi
}

check_image() {
    check "the image is smaller than $((LIMIT_BYTES / 1000000)) MB" small
    local image
    for image in "$IMAGE" genserve:training; do
        check "$image runs as uid 10001" test "$(docker image inspect --format '{{.Config.User}}' "$image")" = 10001:10001
    done
    check "torch, training, dbos and pip cannot be imported in $IMAGE" docker run --rm --network none "$IMAGE" python -c "
from importlib.util import find_spec
found = [name for name in ('torch', 'training', 'dbos', 'pip') if find_spec(name)]
exit(f'{found} can be imported' if found else 0)"
    check "service, fastapi and pip cannot be imported in genserve:training" \
        docker run --rm --network none --entrypoint python genserve:training -c "
from importlib.util import find_spec
found = [name for name in ('service', 'fastapi', 'pip') if find_spec(name)]
exit(f'{found} can be imported' if found else 0)"
    check "the training image runs the other commands, too" docker run --rm --network none genserve:training list
}

check_alone() { # the image without compose, with its own health check
    local name=$project-plain
    docker run --detach --name "$name" --read-only --tmpfs /tmp --cap-drop ALL --publish 127.0.0.1::8000 \
        --health-interval 1s "$IMAGE" >/dev/null
    check "the image alone becomes healthy, without database and volumes" within 60 healthy "$name"
    check "it becomes ready" within 60 ready "$(published "$name")"
    check "it draws $model as compose's does" sample "$(published "$name")" "$model" "$work/alone.png"
    check "the pictures have the same bytes" cmp "$work/container.png" "$work/alone.png"
    docker stop --time "$DRAIN_S" "$name" >/dev/null
    check "without an init process, SIGTERM ends it with 0" clean_exit "$name"
}
