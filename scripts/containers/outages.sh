# Each container is killed while a run is under way, and nothing is lost; sourced by scripts/containers.sh.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # variables are shared

step_of() { field "$1" "coalesce((progress->>'step')::int, 0)"; }
beyond() { # beyond JOB STEP: it is running, and has come further
    local found
    found=$(field "$1" "state || ' ' || coalesce((progress->>'step')::int, 0)") || return 1
    echo "got '$found', expected running, beyond $2; where it is over too soon, set EPOCHS to more than $EPOCHS"
    [[ $found == running\ * ]] && [ "${found#* }" -gt "$2" ]
}
moves() { # moves JOB SECONDS: it runs, and goes on
    local from
    from=$(step_of "$1") && within "$2" beyond "$1" "$from"
}
killed() { docker kill --signal KILL "$1" && within 10 is "exited 137" docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$1"; }
resumed() { # resumed FILE: follow is connected again, after an event that it has
    [ "$(cat "$1.after")" -gt 0 ] && grep -q '^id: ' "$1.part"
}
unavailable() { is 503 curl --noproxy '*' --silent --output /dev/null --max-time 30 --write-out '%{http_code}' "$1"; }
workers() { sql "SELECT count(*) FROM genserve.workers WHERE gone_at IS NULL"; }
holder() { field "$1" "regexp_replace(holder, '-[^-]*$', '')"; } # the name of a worker is that of its host, the container's id
record() { # what psql and the API have to say of a job that is over
    sql "SELECT md5(j::text) FROM genserve.jobs j WHERE id = '$1'"
    sql "SELECT count(*), md5(string_agg(e::text, '' ORDER BY id)) FROM genserve.events e WHERE job = '$1'"
    sql "SELECT count(*), md5(string_agg(p::text, '' ORDER BY event)) FROM genserve.pictures p WHERE job = '$1'"
    fetch "$url/training/jobs/$1/events" | md5sum
}

kill_api_and_worker() {
    local before
    check "the api is killed (-9) while a client streams" killed "$api"
    check "the run goes on without it" moves "$shaken" 60
    before=$(field "$shaken" fence)
    check "the worker is killed (-9) in the middle of the run" killed "$worker"
    check "both come back, and a second worker in a network namespace of its own" \
        compose up --detach --wait --wait-timeout 120 --no-build --no-recreate --scale worker=2
    url=$(published "$api")
    check "the client goes on after the last event that it got" within 30 resumed "$work/shaken.events"
    check "the model that was trained is there" sample "$url" steady "$work/again.png"
    check "the run goes on" moves "$shaken" 90
    check "in a new execution" test "$(field "$shaken" fence)" -gt "$before"
    check "of the same attempt" is 1 field "$shaken" attempt
    check "there are two workers, by name" is 2 workers
}

kill_postgres() {
    check "the database is killed (-9) in the middle of the run" killed "$postgres"
    check "jobs cannot be asked for" unavailable "$url/training/jobs"
    check "images can" sample "$url" steady "$work/again.png"
    docker start "$postgres" >/dev/null
    check "the database comes back" within 60 sql "SELECT 1"
    check "jobs can be asked for again" within 30 fetch --output /dev/null "$url/training/jobs/$shaken"
    check "the run goes on" moves "$shaken" 90
}

take_over() {
    local first
    first=$(holder "$shaken")
    check "the worker that has the job is killed (-9) and stays dead" killed "$first"
    check "the other one sees the job to its end" within 240 over "$shaken"
    check "it was the other one" test "$(holder "$shaken")" != "$first"
}

check_outages() {
    local before
    before=$(record "$steady")
    check "another order is taken" order shaken
    shaken=$(ordered shaken)
    follow "$shaken" "$work/shaken.events" &
    follower=$!
    check "its run begins" within 60 beyond "$shaken" 100
    kill_api_and_worker
    kill_postgres
    take_over
    check "the client has seen the end" within 30 grep -q '"state":"succeeded"' "$work/shaken.events"
    wait "$follower"
    follower=
    check "it has every event, and each once" without_gaps "$work/shaken.events"
    check_published_once shaken
    check "the new model draws" within 10 sample "$url" shaken "$work/shaken.png"
    check "the same pictures as the one whose run nobody disturbed" cmp "$work/steady.png" "$work/shaken.png"
    check "what was there before is as it was" is "$before" record "$steady"
}

check_end() {
    local one running before
    before=$(record "$shaken")
    running=$(compose ps --quiet)
    compose stop >/dev/null 2>&1
    for one in $running; do
        check "SIGTERM ends $(role "$one") with 0" clean_exit "$one"
    done
    compose down >/dev/null 2>&1
    check "new containers become healthy with the same volumes" compose up --detach --wait --wait-timeout 120 --no-build
    api=$(container api)
    url=$(published "$api")
    check "the job and its events are there" is "$before" record "$shaken"
    check "its model draws the same pictures" sample "$url" shaken "$work/again.png"
    check "with the same bytes" cmp "$work/shaken.png" "$work/again.png"
}
