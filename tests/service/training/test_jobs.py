"""Jobs over HTTP: ordered once, found again, cancelled and resumed; no worker is needed for any of it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.training.answers import JobAnswer, JobsAnswer, WorkersAnswer
from tests.bundle.uploads.files import with_image
from tests.service.support import Client, pngs_of, serving, until
from tests.service.training.support import INSTANCE, JOBS, SMALL, Runner, sqlite


def order(client: Client, key: str | None = None, **changes: Any) -> Any:
    headers = {} if key is None else {"idempotency-key": key}
    return client.post(JOBS, {"recipe": SMALL} | changes, headers=headers)


def test_order_is_taken_with_no_worker_and_says_where_it_is(client: Client) -> None:
    answer = order(client, priority=3, promotion="manual", device="cpu")
    assert answer.status_code == 202
    job = JobAnswer.model_validate(answer.json())
    assert answer.headers["location"] == job.links.self == f"{JOBS}/{job.id}"
    assert (job.state, job.priority, job.promotion, job.device) == ("queued", 3, "manual", "cpu")
    assert client.get(job.links.self).json() == answer.json()


def test_recipe_is_kept_complete(client: Client) -> None:
    recipe = order(client).json()["recipe"]
    assert recipe["train"]["ema"] == 0.999
    assert recipe["model"]["latent_dim"] == 2
    assert recipe["evaluate"]["samples"] == 10_000


def test_named_recipe_takes_another_name_other_data_and_overrides(client: Client) -> None:
    changes = {"name": "digits", "data": "mnist", "overrides": {"train.epochs": 1, "model.latent_dim": 3}}
    job = order(client, recipe="fashion-vae", **changes).json()
    recipe = job["recipe"]
    assert (job["name"], recipe["name"], recipe["data"]["name"]) == ("digits", "digits", "mnist")
    assert (recipe["train"]["epochs"], recipe["model"]["latent_dim"]) == (1.0, 3)


@pytest.mark.parametrize("keys", [("a-1", "a-1"), ('"b-1"', "b-1")])
def test_order_that_comes_again_with_its_key_is_the_same_job(client: Client, keys: tuple[str, str]) -> None:
    first, again = (order(client, key) for key in keys)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]


def test_key_with_another_order_is_refused_and_nothing_is_ordered(client: Client) -> None:
    first = order(client, "c-1", name="c-first")
    other = order(client, "c-1", name="c-other")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert first.json()["id"] in other.json()["detail"]
    assert client.get(f"{JOBS}?name=c-other").json()["jobs"] == []


def test_order_that_comes_again_is_the_same_job_whatever_has_become_of_what_it_names(
    store: Path, tmp_path: Path
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    file, text = recipes / "mine.toml", 'name = "mine"\nfamily = "vae"\n[data]\nname = "mnist"\n[train]\nepochs = 1\n'
    file.write_text(text)
    places = {"database": sqlite(tmp_path), "recipes": recipes, "uploads": tmp_path / "uploads"}
    with serving(store, lanes=1, **places) as client:
        place = client.post("/training/data", content=with_image("x.png")).headers["location"]
        changes = {"recipe": "mine", "data": client.get(place).json()["data"]}
        first = order(client, "again", **changes)
        assert first.status_code == 202, first.text
        path = first.headers["location"]
        file.write_text(text.replace("1", "2"))
        assert order(client, "again", **changes).headers["location"] == path
        assert order(client, "again", priority=0, **changes).headers["location"] == path
        assert client.request("DELETE", path).status_code == 200
        assert client.request("DELETE", place).status_code == 204
        assert order(client, "again", **changes).headers["location"] == path
        file.unlink()
        assert order(client, "again", **changes).headers["location"] == path
        assert order(client, "again", priority=1, **changes).json()["code"] == "idempotency_key_reused"
        assert order(client, "new", **changes).json()["code"] == "invalid_request"
        assert len(client.get(JOBS).json()["jobs"]) == 1


def test_orders_without_a_key_are_jobs_of_their_own(client: Client) -> None:
    assert order(client).json()["id"] != order(client).json()["id"]


def test_same_key_from_many_at_once_makes_one_job(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: order(client, "d-1", name="racing"), range(16)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(client.get(f"{JOBS}?name=racing").json()["jobs"]) == 1


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "caf\xe9"])
def test_key_that_cannot_be_is_refused(client: Client, key: str) -> None:
    answer = client.post(JOBS, {"recipe": SMALL}, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_list_goes_from_new_to_old_through_all_pages(client: Client) -> None:
    ids = [order(client, name="paged").json()["id"] for _ in range(5)]
    path, found, pages = f"{JOBS}?name=paged&limit=2", [], 0
    while path:
        answer = client.get(path)
        page = JobsAnswer.model_validate(answer.json())
        found += [job.id for job in page.jobs]
        assert answer.headers.get("link") == (f'<{page.next}>; rel="next"' if page.next else None)
        path, pages = page.next or "", pages + 1
    assert found == ids[::-1]
    assert pages == 3


def test_list_is_filtered_by_state_name_and_family(client: Client) -> None:
    waiting, gone = (order(client, name="filtered").json()["id"] for _ in range(2))
    client.request("DELETE", f"{JOBS}/{gone}")

    def ids(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"{JOBS}?name=filtered&{query}").json()["jobs"]]

    assert ids("state=queued") == [waiting]
    assert ids("state=cancelled,failed") == [gone]
    assert ids("state=queued&state=cancelled") == [gone, waiting]
    assert ids("family=vae") == [gone, waiting]
    assert ids("family=gan") == []


def test_queued_job_is_cancelled_at_once_and_can_be_resumed(client: Client) -> None:
    path = order(client).headers["location"]
    cancelled = client.request("DELETE", path)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert client.request("DELETE", path).json()["code"] == "job_state"
    resumed = client.post(f"{path}/resume")
    assert (resumed.status_code, resumed.headers["location"]) == (202, path)
    assert (resumed.json()["state"], resumed.json()["attempt"]) == ("queued", 2)
    again = client.post(f"{path}/resume")
    assert (again.status_code, again.json()["code"]) == (409, "job_state")


def test_running_job_is_asked_to_stop(client: Client, folder: Path) -> None:
    job = order(client).json()
    runner = Runner(sqlite(folder), job["id"])
    runner.progress(40)
    shown = JobAnswer.model_validate(client.get(job["links"]["self"]).json())
    assert shown.progress is not None
    assert (shown.state, shown.worker, shown.progress.losses) == ("running", INSTANCE, {"loss": 1.5})
    stopping = client.request("DELETE", job["links"]["self"])
    assert (stopping.status_code, stopping.json()["state"]) == (202, "cancelling")
    assert runner.ledger.wanted(job["id"], runner.job.fence) == "cancel"


def test_published_job_leads_to_its_model(client: Client, folder: Path) -> None:
    job = order(client).json()
    Runner(sqlite(folder), job["id"]).succeed()
    shown = client.get(job["links"]["self"]).json()
    assert (shown["state"], shown["links"]["model"]) == ("succeeded", "/models/small@1")


def test_workers_are_listed(client: Client, folder: Path) -> None:
    Runner(sqlite(folder), order(client).json()["id"])
    found = WorkersAnswer.model_validate(client.get("/training/workers").json()).workers
    assert [(worker.instance, worker.alive) for worker in found] == [(INSTANCE, True)]


@pytest.mark.parametrize("path", ["", "/events", "/pictures/3"])
def test_unknown_job_is_not_found(client: Client, path: str) -> None:
    answer = client.get(f"{JOBS}/nobody{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "state=gone", "before=../x", "page=2", "name=a&name=b"]
)
def test_query_of_the_list_that_cannot_be_is_refused(client: Client, query: str) -> None:
    answer = client.get(f"{JOBS}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["allowed"]


def test_service_that_takes_no_jobs_says_so(store: Path) -> None:
    with serving(store, lanes=1, training=False) as client:
        for path in (JOBS, "/training/recipes", "/training/workers", f"{JOBS}/x/events"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "training_off")


def test_database_is_not_touched_before_somebody_asks_for_jobs(store: Path, tmp_path: Path) -> None:
    with serving(store, lanes=1, database=sqlite(tmp_path / "deep")) as client:
        pngs_of(client.post("/sample", {"seed": 1}))
        assert list(tmp_path.iterdir()) == []
        assert order(client).status_code == 202
        assert (tmp_path / "deep" / "jobs.sqlite").exists()


@pytest.mark.parametrize(
    "database", ["sqlite:////proc/none/jobs.sqlite", "postgresql://genserve:secret@127.0.0.1:9/genserve"]
)
def test_without_its_database_jobs_are_refused_and_models_served(store: Path, database: str) -> None:
    with serving(store, lanes=1, database=database) as client:
        for answer in (order(client), client.get(JOBS), client.get(f"{JOBS}/x/events")):
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "secret" not in answer.text
        assert len(pngs_of(client.post("/sample", {"seed": 1}))) == 1
        assert client.get("/training/recipes").status_code == 200


def test_jobs_on_postgresql_are_the_same(store: Path, postgres_url: str) -> None:
    with serving(store, lanes=1, database=postgres_url) as client:
        path = order(client, "key-1", name="here").headers["location"]
        assert order(client, "key-1", name="here").headers["location"] == path
        assert [job["links"]["self"] for job in client.get(f"{JOBS}?state=queued&name=here").json()["jobs"]] == [path]
        assert client.request("DELETE", path).json()["state"] == "cancelled"
        assert client.post(f"{path}/resume").json()["attempt"] == 2
        for odd in ("%00", "a%00b", "%ff", "x" * 65, "%F0%9F%98%80"):
            for where in (f"{JOBS}/{odd}", f"{JOBS}?name={odd}", f"{JOBS}?family={odd}", f"{JOBS}?before={odd}"):
                assert client.get(where).status_code == 422, where


def test_several_processes_share_the_jobs(store: Path, folder: Path, client: Client) -> None:
    with serving(store, lanes=1, database=sqlite(folder)) as other:
        job = order(client, "shared-1").json()
        assert other.get(job["links"]["self"]).json() == job
        assert order(other, "shared-1").json()["id"] == job["id"]


def test_threads_of_the_desk_end_with_the_application(store: Path, tmp_path: Path) -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "genserve-jobs"}

    before = threads()  # those of tests before this one may end meanwhile
    with serving(store, lanes=1, database=sqlite(tmp_path)) as client:
        assert order(client).status_code == 202
        assert threads() - before
    until(lambda: not threads() - before)
