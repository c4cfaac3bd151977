# Serving, and what the containers cannot do; sourced by scripts/containers.sh.
# shellcheck shell=bash disable=SC2016,SC2034,SC2153,SC2154 # variables are shared

names() { # those of the models at URL that can draw; read in the container, since a host may have no Python
    fetch "$1/models" | in_api python -c "
import json, sys
models = json.load(sys.stdin)['models']
print('\n'.join(model['name'] for model in models if 'decode' in model['graphs'] and model['prior']))"
}

check_serving() {
    check "compose starts, and all of it becomes healthy" compose up --detach --wait --wait-timeout 120 --no-build
    check "api, worker and postgres run, and nothing else" is "api postgres worker" \
        sh -c "docker ps --filter label=com.docker.compose.project=$project --format '{{.Label \"com.docker.compose.service\"}}' |
            sort | xargs"
    api=$(container api)
    worker=$(container worker)
    postgres=$(container postgres)
    url=$(published "$api")
    check "the api is ready" ready "$url"
    check "it is published at 127.0.0.1 alone" grep -qE '^http://127\.0\.0\.1:[0-9]+$' <<<"$url"
    check "nothing else is published" is "" docker inspect --format \
        '{{range .NetworkSettings.Ports}}{{range .}}{{.HostPort}}{{end}}{{end}}' "$postgres" "$worker"
    names "$url" >"$work/models"
    check "it has models that draw" test -s "$work/models"
    model=$(head -n 1 "$work/models")
    check "it draws 16 images of $model" sample "$url" "$model" "$work/container.png"
    check "they come as a PNG" is_png "$work/container.png"
    check "the same seed draws them again" sample "$url" "$model" "$work/again.png"
    check "with the same bytes" cmp "$work/container.png" "$work/again.png"
}

check_confinement() {
    local name
    for name in api worker postgres; do
        check "$name: no process runs as root" compose exec -T "$name" sh -c '! cat /proc/[0-9]*/status 2>/dev/null | grep "^Uid:.*	0	"'
        check "$name: no process has a capability left" compose exec -T "$name" \
            sh -c '! cat /proc/[0-9]*/status 2>/dev/null | grep -E "^Cap(Prm|Eff|Bnd|Amb):" | grep -v 0000000000000000'
        check "$name: no process can gain privileges" compose exec -T "$name" grep -q '^NoNewPrivs:.*1$' /proc/1/status
        check "$name: root, too, cannot write into the image" \
            says "Read-only file system" compose exec -T --user 0:0 "$name" touch /etc/new
        check "$name: its memory is limited" test "$(docker inspect --format '{{.HostConfig.Memory}}' "$(container "$name")")" -gt 0
        check "$name: no password is in its environment" \
            sh -c "! docker inspect --format '{{.Config.Env}}' $(container "$name") | grep -F \"$(in_api cat /secrets/database-password)\""
    done
    check "the worker cannot write into uploads" says "Read-only file system" compose exec -T worker touch /uploads/new
    check "nor into data" says "Read-only file system" compose exec -T worker touch /data/new
    check "the api cannot write into data" says "Read-only file system" in_api touch /data/new
    check "nor among the secrets" says "Read-only file system" in_api touch /secrets/new
    check "the api's /tmp can be written" in_api touch /tmp/new
    for name in "$worker" "$postgres"; do
        check "$(role "$name") is in one network" is "${project}_database " \
            docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$name"
    done
    check "which leads nowhere else" is true docker network inspect --format '{{.Internal}}' "${project}_database"
}

check_same_as_local() {
    if [ "$(uname)" != Linux ] || ! "$PYTHON" -c 'import onnxruntime, service.app' 2>/dev/null; then
        echo "note: no Linux with the service's packages in $PYTHON; nothing to compare the pictures with"
        return
    fi
    local said=$work/local.log
    GENSERVE_STORE=models GENSERVE_TRAINING=false "$PYTHON" -m service >"$said" 2>&1 &
    local_pid=$!
    check "a local service starts" within 60 grep -q '^genserve: .* on http' "$said"
    check "it draws $model" sample "$(sed -n 's/^genserve: .* on \(http[^ ]*\).*/\1/p' "$said")" "$model" "$work/local.png"
    check "its picture has the same bytes as the container's" cmp "$work/container.png" "$work/local.png"
    kill "$local_pid"
    wait "$local_pid" || true
    local_pid=
}
