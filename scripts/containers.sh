#!/usr/bin/env bash
# Build the image of the service, serve with it, check what it promises, and clean up: `make containers`.
#
#   REQUIRE=1            fail, instead of skipping, where there is no container engine
#   TRAINING=1           also build the training image, train a tiny model in it and serve that
#   GENSERVE_STORE=DIR   serve that folder (readable for everyone) instead of the bundles inside the image
#   PYTHON=FILE          Python of the local service whose images are compared (.venv/bin/python, if it is there)
set -euo pipefail
if [ -n "${GENSERVE_STORE:-}" ]; then GENSERVE_STORE=$(cd "$GENSERVE_STORE" && pwd); fi
cd "$(dirname "$0")/.."
export GENSERVE_PORT=0 DOCKER_BUILDKIT=1 # port 0: one that is free
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME
PYTHON=${PYTHON:-.venv/bin/python}
IMAGE=genserve:service
LIMIT_BYTES=400000000
DRAIN_S=30
passed=0
local_pid=
project=genserve-check-$$

compose() { docker compose --project-name "$project" "$@"; }
in_api() { compose exec -T api "$@"; }

skip() {
    echo "skipped: $1"
    [ "${REQUIRE:-0}" = 1 ] && exit 1
    exit 0
}

cleanup() {
    local status=$?
    trap - EXIT
    [ -z "$local_pid" ] || kill "$local_pid" 2>/dev/null || true
    if docker version >/dev/null 2>&1; then
        [ $status = 0 ] || compose logs --tail 30 2>/dev/null || true
        docker rm --force "$project-plain" >/dev/null 2>&1 || true
        compose --profile training down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
    exit $status
}

check() {
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $what"
    else
        echo "FAIL  $what"
        cat "$work/said"
        echo "$passed passed, 1 failed"
        exit 1
    fi
}

says() { # says TEXT COMMAND...: it fails, and says TEXT
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then return 1; fi
    echo "$said"
    [[ $said == *"$text"* ]]
}
within() { # within SECONDS COMMAND...: repeat until it succeeds
    local until=$((SECONDS + $1))
    shift
    while ! "$@" >"$work/tried" 2>&1; do
        if [ $SECONDS -ge $until ]; then cat "$work/tried"; return 1; fi
        sleep 0.5
    done
}

healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }
published() { docker port "$1" 8000/tcp | sed 's/^/http:\/\//'; }
fetch() { curl --noproxy '*' --fail --silent --show-error --max-time 60 "$@"; }
ready() { fetch "$1/health/ready"; }
names() { # those of the models at URL that can draw; read in the container, since a host may have no Python
    fetch "$1/models" | in_api python -c "
import json, sys
models = json.load(sys.stdin)['models']
print('\n'.join(model['name'] for model in models if 'decode' in model['graphs'] and model['prior']))"
}
sample() { # sample URL MODEL FILE
    fetch --header 'accept: image/png' --header 'content-type: application/json' --output "$3" \
        --data "{\"model\":\"$2\",\"n\":16,\"seed\":7}" "$1/sample"
}
is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]; }

small() {
    local bytes
    bytes=$(docker image inspect --format '{{.Size}}' "$IMAGE")
    echo "$IMAGE has $bytes bytes, the limit is $LIMIT_BYTES"
    [ "$bytes" -lt "$LIMIT_BYTES" ]
}
clean_exit() {
    local state
    state=$(docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' "$1")
    echo "exit code and killed for memory: $state; expected 0 false"
    [ "$state" = "0 false" ]
}

check_files() {
    check "the compose file is valid" docker compose config --quiet
    check "the compose file is valid with every profile" docker compose --profile gpu --profile training config --quiet
    local hadolint
    for hadolint in "$(dirname "$PYTHON")/hadolint" "$(command -v hadolint || true)"; do
        if [ -x "$hadolint" ]; then check "hadolint finds nothing" "$hadolint" Dockerfile; return; fi
    done
}

check_image() {
    check "the image is smaller than 400 MB" small
    check "it runs as uid 10001" test "$(docker image inspect --format '{{.Config.User}}' "$IMAGE")" = 10001:10001
    local missing
    for missing in torch training pip; do
        check "$missing cannot be imported" \
            says "No module named '$missing'" docker run --rm "$IMAGE" python -c "import $missing"
    done
}

check_alone() { # the image without compose, with its own health check
    local volume=() name=$project-plain
    [ -z "${GENSERVE_STORE:-}" ] || volume=(--volume "$GENSERVE_STORE:/models:ro")
    docker run --detach --name "$name" --read-only --cap-drop ALL --publish 127.0.0.1::8000 \
        --health-interval 1s ${volume[@]+"${volume[@]}"} "$IMAGE" >/dev/null
    check "the image alone becomes healthy, without /tmp and with nothing but a port" within 60 healthy "$name"
    check "it becomes ready" within 60 ready "$(published "$name")"
    check "it draws $model as compose's does" sample "$(published "$name")" "$model" "$work/alone.png"
    check "the pictures have the same bytes" cmp "$work/container.png" "$work/alone.png"
    docker stop --time $DRAIN_S "$name" >/dev/null
    check "without an init process, SIGTERM ends it with 0" clean_exit "$name"
}

check_confinement() {
    check "no process runs as root" in_api sh -c '! grep -h "^Uid:" /proc/[0-9]*/status | grep -v "	10001	10001	10001	10001"'
    check "no process has a capability left" in_api sh -c '! grep -hE "^Cap(Prm|Eff|Bnd|Amb):" /proc/[0-9]*/status | grep -v 0000000000000000'
    check "no process can gain privileges" in_api grep -q '^NoNewPrivs:.*1$' /proc/1/status
    check "root, too, cannot write into the image" \
        says "Read-only file system" compose exec -T --user 0:0 api touch /srv/genserve/service/new.py
    check "it cannot write into the store" says "Read-only file system" in_api touch /models/new
    check "/tmp can be written" in_api touch /tmp/new
    check "memory is limited" test "$(docker inspect --format '{{.HostConfig.Memory}}' "$api")" -gt 0
}

check_same_as_local() {
    if [ "$(uname)" != Linux ] || ! "$PYTHON" -c 'import onnxruntime, service.app' 2>/dev/null; then
        echo "note: no Linux with the service's packages in $PYTHON; nothing to compare the pictures with"
        return
    fi
    local store=${GENSERVE_STORE:-models} said=$work/local.log
    GENSERVE_STORE=$store "$PYTHON" -m service >"$said" 2>&1 &
    local_pid=$!
    check "a local service starts" within 60 grep -q '^genserve: .* on http' "$said"
    check "it draws $model" sample "$(sed -n 's/^genserve: .* on \(http[^ ]*\).*/\1/p' "$said")" "$model" "$work/local.png"
    check "its picture has the same bytes as the container's" cmp "$work/container.png" "$work/local.png"
    kill "$local_pid"
    wait "$local_pid" || true
    local_pid=
}

check_serving() {
    check "compose starts and becomes healthy" compose up --detach --wait --wait-timeout 120 --no-build api
    api=$(compose ps --quiet api)
    url=$(published "$api")
    check "it is ready" ready "$url"
    check "it is published at 127.0.0.1 alone" grep -qE '^http://127\.0\.0\.1:[0-9]+$' <<<"$url"
    names "$url" >"$work/models"
    check "it has models that draw" test -s "$work/models"
    model=$(head -n 1 "$work/models")
    check "it draws 16 images of $model" sample "$url" "$model" "$work/container.png"
    check "they come as a PNG" is_png "$work/container.png"
    check "the same seed draws them again" sample "$url" "$model" "$work/again.png"
    check "with the same bytes" cmp "$work/container.png" "$work/again.png"
}

check_training() {
    compose --profile training build --quiet training
    mkdir -p "$work/data/pictures"
    docker run --rm --user "$(id -u):$(id -g)" --volume "$work/data:/data" --entrypoint python genserve:training -c "
import numpy as np
from PIL import Image
for i in range(64):
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)).save(f'/data/pictures/{i:02}.png')"
    chmod -R a+rX "$work" # not only for the user who runs this
    check "training publishes a bundle into the volume" env GENSERVE_DATA="$work/data" \
        docker compose --project-name "$project" run --rm --no-deps -T training \
        train configs/fashion-vae.toml --set name=\"checked\" --set data.name=\"folder\" --set data.path=\"pictures\" \
        --set data.size=16 --set data.channels=3 --set data.licence=\"CC0-1.0\" --set data.attribution=\"noise\" \
        --set model.channels=4 --set train.epochs=1 --set train.batch_size=16
    compose restart --timeout $DRAIN_S api >/dev/null 2>&1
    url=$(published "$api")
    check "the api serves it after a restart" within 60 sample "$url" checked "$work/checked.png"
    check "beside the bundles of the image" within 60 sample "$url" "$model" "$work/again.png"
}

command -v curl >/dev/null || skip "curl is not installed"
docker version >/dev/null 2>&1 || skip "no container engine answers (docker version)"
docker buildx version >/dev/null 2>&1 || skip "docker buildx is not installed"
docker compose version >/dev/null 2>&1 || skip "docker compose is not installed"
work=$(mktemp -d)
trap cleanup EXIT

check_files
echo "building $IMAGE"
compose build --quiet api
check_image
check_serving
check_confinement
check_same_as_local
if [ "${TRAINING:-0}" = 1 ]; then check_training; fi
compose stop --timeout $DRAIN_S api >/dev/null 2>&1
check "SIGTERM ends it with 0 within $DRAIN_S s" clean_exit "$api"
check_alone
echo "$(docker image inspect --format '{{.Size}}' "$IMAGE") bytes: $IMAGE"
echo "$passed passed, 0 failed"
