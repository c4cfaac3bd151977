# A small model, ordered, watched and used over HTTP; sourced by scripts/containers.sh.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # variables are shared

IDS='s/^id: *//p'
KINDS='s/^event: *//p'

discs() { # 256 pictures of discs as .npz; drawn in the container, since a host may have no Python
    in_api python -c "
import io, sys
import numpy as np
random = np.random.default_rng(1)
y, x = np.mgrid[0:16, 0:16]
centre, size = random.uniform(4, 12, (2, 256, 1, 1)), random.uniform(2, 5, (256, 1, 1))
images = np.where(np.hypot(x - centre[0], y - centre[1]) < size, 255, 0).astype(np.uint8)
file = io.BytesIO()
np.savez_compressed(file, images=images)
sys.stdout.buffer.write(file.getvalue())"
}

order() { # order NAME: an Idempotency-Key of its own; what the service answers goes into NAME.head and NAME.body
    local settings='"model.channels":4,"model.hidden":[16],"model.latent_dim":4,"train.batch_size":16,"train.epochs":'$EPOCHS
    settings+=',"evaluate.samples":100,"evaluate.likelihood_images":16,"evaluate.iwae_samples":2,"evaluate.probe_images":500'
    fetch --dump-header "$work/$1.head" --output "$work/$1.body" \
        --header 'content-type: application/json' --header "idempotency-key: $1" \
        --data "{\"recipe\":\"fashion-vae\",\"name\":\"$1\",\"data\":\"upload:$data\",\"overrides\":{$settings}}" \
        "$url/training/jobs"
    grep -q '^HTTP/1.1 202' "$work/$1.head"
}
ordered() { tr -d '\r' <"$work/$1.head" | sed -n 's/^location: \/training\/jobs\///ip'; }
repeated() { # an order that is sent again is the same job
    local first
    first=$(ordered "$1")
    order "$1"
    echo "first $first, then $(ordered "$1")"
    [ "$first" = "$(ordered "$1")" ]
}
field() { sql "SELECT $2 FROM genserve.jobs WHERE id = '$1'"; }
over() { [[ $(field "$1" state) =~ ^(succeeded|failed|cancelled)$ ]]; }

follow() { # follow JOB FILE: as a browser does, from the event after the last whole one, until the job is over
    local last to
    : >"$2"
    until grep -qE '^data: .*"state":"(succeeded|failed|cancelled)"' "$2"; do
        sleep 0.3
        to=$(published "$api" 2>/dev/null) || continue
        last=$(sed -n "$IDS" "$2" | tail -n 1)
        echo "${last:-0}" >"$2.after"
        curl --noproxy '*' --silent --no-buffer --max-time 300 --header "last-event-id: ${last:-0}" \
            "$to/training/jobs/$1/events" >"$2.part" || true
        awk '{ block = block $0 "\n" } /^$/ { printf "%s", block; block = "" }' "$2.part" >>"$2"
    done
}
without_gaps() { # each event once, in order
    sed -n "$IDS" "$1" | awk '$1 != NR { print "event", $1, "in place", NR; exit 1 } END { print NR, "events"; exit NR == 0 }'
}
has_kinds() {
    local kind found
    found=$(sed -n "$KINDS" "$1" | sort | uniq -c)
    echo "$found"
    for kind in state progress epoch picture log result; do grep -q " $kind\$" <<<"$found" || return 1; done
}
versions() { in_api sh -c "ls /models/$1 | grep -E '^[0-9]+$' | xargs"; }
ending() { sql "SELECT state, failure FROM genserve.jobs WHERE id = '$1'"; }

check_published_once() { # check_published_once NAME
    local job
    job=$(ordered "$1")
    check "psql: job $1 has succeeded" is "succeeded|" ending "$job"
    check "psql: it has one result, and ended once" is "1|1" sql "SELECT
        count(*) FILTER (WHERE kind = 'result'), count(*) FILTER (WHERE data->>'state' = 'succeeded')
        FROM genserve.events WHERE job = '$job'"
    check "psql: its events have no gap" is "t" sql "SELECT count(*) = max(id) AND max(id) = (
        SELECT last_event FROM genserve.jobs WHERE id = '$job') FROM genserve.events WHERE job = '$job'"
    check "psql: DBOS has nothing left to do" is "0" sql "SELECT count(*) FROM dbos.workflow_status
        WHERE status IN ('PENDING', 'ENQUEUED')"
    check "the store has one version of it" is "1" versions "$1"
    check "which is promoted" is "1" in_api cat "/models/$1/aliases/production"
}

check_training() {
    discs >"$work/discs.npz"
    check "a data set is taken" fetch --form "file=@$work/discs.npz" --output "$work/data" "$url/training/data"
    data=$(sed -n 's/^{"id":"\([0-9a-f]*\)".*/\1/p' "$work/data")
    check "a recipe that cannot be is refused by its field" says "train.epochs" fetch_any "$url/training/jobs" \
        '{"recipe":"fashion-vae","data":"mnist","overrides":{"train.epochs":-1}}'
    check "an order is taken" order steady
    check "an order that is sent again is the same job" repeated steady
    steady=$(ordered steady)
    started=$(docker inspect --format '{{.State.StartedAt}}' "$api")
    check "its events are streamed until it is over" timeout 300 \
        curl --noproxy '*' --fail --silent --show-error --no-buffer --output "$work/steady.events" "$url/training/jobs/$steady/events"
    check "none is missing" without_gaps "$work/steady.events"
    check "there are all kinds" has_kinds "$work/steady.events"
    check "the new model draws" within 10 sample "$url" steady "$work/steady.png"
    check "as a PNG" is_png "$work/steady.png"
    check "also by its alias" sample "$url" steady@production "$work/again.png"
    check "the api has not been started again for it" is "$started" docker inspect --format '{{.State.StartedAt}}' "$api"
    check "a picture of the training can be had" fetch --output "$work/picture.png" \
        "$url$(grep -m 1 -o '/training/jobs/[^"]*/pictures/[0-9]*' "$work/steady.events")"
    check "as a PNG, too" is_png "$work/picture.png"
    check_published_once steady
}

fetch_any() { # fetch_any URL BODY: fails, and says what the service said
    curl --noproxy '*' --silent --header 'content-type: application/json' --data "$2" --output "$work/refused" \
        --write-out '%{http_code} ' "$1"
    cat "$work/refused"
    return 1
}
