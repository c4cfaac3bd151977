#!/usr/bin/env bash
# Build the images, start all of docker-compose.yml, train in it, kill its parts, check what it promises, and clean up:
# `make containers`. Parts: scripts/containers/.
#
#   REQUIRE=1     fail, instead of skipping, where there is no container engine
#   EPOCHS=N      length of the two runs: more, where they end before everything could be killed
#   PYTHON=FILE   Python of the local service whose images are compared (.venv/bin/python, if it is there)
set -euo pipefail
cd "$(dirname "$0")/.."
export GENSERVE_PORT=0 DOCKER_BUILDKIT=1 # port 0: one that is free
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME # what a shell has set for another project; .env is not read either
unset GENSERVE_STORE GENSERVE_STORE_ACCESS GENSERVE_DATA GENSERVE_SECRETS GENSERVE_DATABASE GENSERVE_TRAINING
EPOCHS=${EPOCHS:-420}
PYTHON=${PYTHON:-.venv/bin/python}
IMAGE=genserve:service
passed=0
local_pid=
follower=
project=genserve-check-$$

for part in common image serving training outages; do
    # shellcheck source=/dev/null
    . "scripts/containers/$part.sh"
done

skip() {
    echo "skipped: $1"
    [ "${REQUIRE:-0}" = 1 ] && exit 1
    exit 0
}

cleanup() {
    local status=$?
    trap - EXIT
    [ -z "$local_pid" ] || kill "$local_pid" 2>/dev/null || true
    [ -z "$follower" ] || kill "$follower" 2>/dev/null || true
    if docker version >/dev/null 2>&1; then
        [ $status = 0 ] || compose logs --tail 40 2>/dev/null || true
        docker rm --force "$project-plain" >/dev/null 2>&1 || true
        compose down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
    exit $status
}

command -v curl >/dev/null || skip "curl is not installed"
docker version >/dev/null 2>&1 || skip "no container engine answers (docker version)"
docker buildx version >/dev/null 2>&1 || skip "docker buildx is not installed"
docker compose version >/dev/null 2>&1 || skip "docker compose is not installed"
work=$(mktemp -d)
trap cleanup EXIT

check_files
fetch_wheel
echo "building $IMAGE and genserve:training"
compose build --quiet api worker
check_image
check_serving
check_confinement
check_same_as_local
check_training
check_outages
check_end
check_alone
docker image inspect --format '{{.Size}} bytes: {{index .RepoTags 0}}' "$IMAGE" genserve:training
echo "$passed passed, 0 failed, after $SECONDS s"
