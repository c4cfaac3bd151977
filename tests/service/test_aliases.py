"""/models/{name}/aliases: set, remove, roll back, history."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle.store import Store
from service.delivery.schemas import AliasChangedAnswer, AliasesAnswer
from tests.service.support import Client, serving
from tests.support.bundles import publish, spoil

NAME = "tiny"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for seed in (1, 2, 3):
        publish(tmp_path, seed=seed)
    return Store(tmp_path)


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    with serving(store.root, default_model=NAME, lanes=1, store_poll_s=0, keep_versions=1) as running:
        yield running


def put(client: Client, version: Any, alias: str = "prod", **fields: Any) -> httpx.Response:
    return client.post(f"/models/{NAME}/aliases/{alias}", {"version": version, **fields})


def roll_back(client: Client, alias: str = "prod", **options: Any) -> httpx.Response:
    return client.post(f"/models/{NAME}/aliases/{alias}/rollback", **options)


def drawn_by(client: Client, ref: str = f"{NAME}@prod") -> int:
    answer = client.post("/sample", {"model": ref})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["model"]["version"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_alias_is_served_when_its_change_is_answered_though_the_version_had_to_be_loaded(client: Client) -> None:
    assert code(client.post("/sample", {"model": f"{NAME}@1"})) == (409, "version_not_loaded")
    answer = put(client, 1)
    assert answer.status_code == 200
    AliasChangedAnswer.model_validate(answer.json())
    assert answer.json() == {
        "model": NAME,
        "alias": "prod",
        "version": 1,
        "before": None,
        "everywhere": True,
        "waiting": [],
    }
    assert drawn_by(client) == 1
    assert put(client, 2).json()["before"] == 1
    assert drawn_by(client) == 2


def test_rollback_goes_back_in_one_call_and_again_one_further(client: Client) -> None:
    for version in (1, 3, 2):
        put(client, version)
    answer = roll_back(client)
    assert (answer.status_code, answer.json()["version"], answer.json()["before"]) == (200, 3, 2)
    assert drawn_by(client) == 3
    assert roll_back(client, json={"reason": "it is grey"}).json()["version"] == 1
    assert drawn_by(client) == 1
    assert code(roll_back(client)) == (409, "no_version_before")
    assert drawn_by(client) == 1


def test_removed_alias_is_unknown_until_it_is_rolled_back(client: Client) -> None:
    put(client, 2)
    answer = client.request("DELETE", f"/models/{NAME}/aliases/prod")
    assert (answer.status_code, answer.json()["version"], answer.json()["before"]) == (200, None, 2)
    assert code(client.post("/sample", {"model": f"{NAME}@prod"})) == (404, "unknown_model")
    assert roll_back(client).json()["version"] == 2
    assert drawn_by(client) == 2


def test_history_says_by_whom_and_why_the_newest_first(client: Client, store: Store) -> None:
    store.set_alias(NAME, "prod", 1, by="job 7", reason="first")
    put(client, 2, reason="sharper")
    answer = client.get(f"/models/{NAME}/aliases").json()
    AliasesAnswer.model_validate(answer)
    assert answer["aliases"] == [{"alias": "prod", "version": 2, "serving": 2}]
    found = [(one["action"], one["before"], one["version"], one["by"], one["reason"]) for one in answer["history"]]
    assert found == [("set", 1, 2, "api", "sharper"), ("set", None, 1, "job 7", "first")]


def test_version_that_cannot_serve_leaves_the_alias_as_it_was(client: Client, store: Store) -> None:
    put(client, 2)
    spoil(store.root / NAME / "1" / "decode.onnx")
    for alias in ("prod", "new"):
        answer = put(client, 1, alias)
        assert code(answer) == (409, "model_refused")
        assert "decode.onnx" in answer.json()["detail"]
    assert store.aliases(NAME) == {"prod": 2}
    assert drawn_by(client) == 2
    assert code(roll_back(client)) == (409, "no_version_before")


def test_rollback_passes_over_a_version_that_cannot_serve(client: Client, store: Store) -> None:
    for version in (1, 2, 3):
        put(client, version)
    put(client, 3, "other")
    spoil(store.root / NAME / "2" / "decode.onnx")
    client.run(client.app.state.context.catalog().refresh())
    answers = [roll_back(client) for _ in range(2)]  # the first may have to find out
    assert answers[-1].json()["version"] == 1
    assert drawn_by(client) == 1


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/models/nobody/aliases/prod", {"version": 1}, (404, "unknown_model")),
        (f"/models/{NAME}/aliases/prod", {"version": 9}, (404, "unknown_model")),
        (f"/models/{NAME}/aliases/9", {"version": 1}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/Prod", {"version": 1}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod", {"version": "1"}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod", {"version": 0}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod", {"version": True}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod", {"version": 1, "why": ""}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod", {"version": 1, "reason": "a" * 501}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod", {}, (422, "invalid_request")),
        (f"/models/{NAME}/aliases/prod/rollback", {}, (404, "unknown_model")),
        (f"/models/{NAME}/aliases/prod/rollback", {"version": 1}, (422, "invalid_request")),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    client: Client, store: Store, path: str, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert code(client.post(path, body)) == expected
    assert store.aliases(NAME) == {}
    assert client.get(f"/models/{NAME}/aliases").json() == {"model": NAME, "aliases": [], "history": []}


def test_unknown_aliases_and_models_are_not_found(client: Client) -> None:
    assert code(client.request("DELETE", f"/models/{NAME}/aliases/prod")) == (404, "unknown_model")
    for name in ("nobody", "No-Name", "%2e%2e"):
        assert client.get(f"/models/{name}/aliases").status_code == 404


def test_form_that_any_page_could_send_is_refused(client: Client) -> None:
    for path in ("prod", "prod/rollback"):
        answer = client.post(
            f"/models/{NAME}/aliases/{path}",
            content=b'{"version": 1}',
            headers={"content-type": "text/plain"},
        )
        assert code(answer) == (415, "unsupported_media_type")


def test_page_of_another_site_cannot_even_roll_back(client: Client) -> None:
    for version in (1, 2):
        put(client, version)
    assert code(roll_back(client, headers={"sec-fetch-site": "cross-site"})) == (422, "invalid_request")
    assert code(roll_back(client, headers={"origin": "http://evil.example"})) == (422, "invalid_request")
    assert drawn_by(client) == 2
    assert roll_back(client, headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_read_only_store_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("bundle.aliases.replace_file", refuse)
    answer = put(client, 1)
    assert code(answer) == (409, "store_read_only")
    assert os.strerror(errno.EROFS) in answer.json()["detail"]


def test_change_that_is_not_served_in_time_stands_and_the_answer_says_so(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck() -> bool:
        raise OSError(errno.EIO, "the disk is away")

    put(client, 1)
    monkeypatch.setattr(client.app.state.context.catalog(), "refresh", stuck)
    answer = put(client, 2).json()
    assert (answer["version"], answer["everywhere"]) == (2, False)
    assert "the disk is away" in answer["waiting"][0]
    shown = client.get(f"/models/{NAME}/aliases").json()["aliases"]
    assert shown == [{"alias": "prod", "version": 2, "serving": 1}]
    assert store.aliases(NAME) == {"prod": 2}
