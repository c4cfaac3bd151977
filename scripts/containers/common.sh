# What the parts of scripts/containers.sh share; sourced by it.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # variables are shared

compose() {
    docker compose --env-file /dev/null --file docker-compose.yml --file scripts/containers/quick.yml \
        --project-name "$project" "$@"
}
in_api() { compose exec -T api "$@"; }

check() { # check WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
        printf 'ok    %3d s  %s\n' $SECONDS "$what"
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
is() { # is EXPECTED COMMAND...: that is what it says
    local expected=$1 said
    shift
    said=$("$@") || return 1
    echo "got '$said', expected '$expected'"
    [ "$said" = "$expected" ]
}

role() { docker inspect --format '{{.Name}}' "$1" | sed "s/^.*$project-//"; } # as worker-1
container() { compose ps --all --quiet "$1"; }
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }
published() { docker port "$1" 8000/tcp | sed 's/^/http:\/\//'; } # with pipefail: fails while it does not run
fetch() { curl --noproxy '*' --fail --silent --show-error --max-time 60 "$@"; }
ready() { fetch "$1/health/ready"; }
sample() { # sample URL MODEL FILE
    fetch --header 'accept: image/png' --header 'content-type: application/json' --output "$3" \
        --data "{\"model\":\"$2\",\"n\":16,\"seed\":7}" "$1/sample"
}
is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]; }
clean_exit() {
    local state
    state=$(docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' "$1")
    echo "exit code and killed for memory: $state; expected 0 false"
    [ "$state" = "0 false" ]
}
sql() { compose exec -T postgres psql --no-psqlrc --quiet --tuples-only --no-align -U genserve genserve -c "$1"; }
