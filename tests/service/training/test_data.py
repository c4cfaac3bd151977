"""POST, GET and DELETE /training/data: what is taken and refused; clients that leave, dawdle, or come all at once."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bundle.uploads import incoming
from bundle.uploads.content import Pixels
from service.app import entrance
from service.training.data import AT_ONCE
from service.training.data_answers import DataAnswer, UploadAnswer
from service.training.data_pipe import Pace
from tests.bundle.uploads.files import npz, pixels, png, with_image, zipped
from tests.service.support import Client, process, serving, until

PATH = "/training/data"
ZIP = {"content-type": "application/zip"}
SMALL_MB = 0.3


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def client(store: Path, uploads: Path, tmp_path: Path) -> Iterator[Client]:
    database = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    known = tmp_path / "known"
    with serving(store, uploads=uploads, database=database, max_data_mb=SMALL_MB, data=known, lanes=1) as running:
        yield running


def images(seed: int = 0, n: int = 4) -> Pixels:
    return np.stack([pixels(seed + i) for i in range(n)])


def left_in(uploads: Path) -> list[Path]:
    """All but the locks; what goes away while it is looked at is no error."""
    found = [Path(folder, name) for folder, folders, files in os.walk(uploads) for name in folders + files]
    return [path for path in found if path.name not in (".lock", ".incoming")]


def problem(response: httpx.Response, status: int, code: str) -> Any:
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    return response.json()


Receive = Callable[[], Awaitable[dict[str, Any]]]


def call(client: Client, receive: Receive) -> tuple[int | None, bytes]:
    """POST with a body as its client sends it: the status, if the client got one, and the answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/zip")],
        "extensions": {},
    }
    client.run(entrance(client.app)(scope, receive, send))  # type: ignore[arg-type]
    status = sent[0]["status"] if sent else None
    return status, b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("way", ["zip", "npz", "form", "no type"])
def test_a_set_is_taken_listed_shown_and_removed(client: Client, uploads: Path, way: str) -> None:
    content = npz(images=images(), labels=np.arange(4)) if way == "npz" else with_image("x.png")
    if way == "form":
        response = client.post(PATH, files={"file": ("images.zip", content)})
    else:
        kinds = {"zip": "application/zip", "npz": "application/x-npz"}
        response = client.post(PATH, content=content, headers={"content-type": kinds[way]} if way in kinds else {})
    assert response.status_code == 201, response.text
    made = UploadAnswer.model_validate(response.json())
    assert made.data == f"upload:{made.id}"
    assert made.labels == (["0", "1", "2", "3"] if way == "npz" else None)
    place = response.headers["location"]
    assert client.get(place).json() == response.json()
    found = client.get(PATH).json()
    DataAnswer.model_validate(found)
    assert found == {"built_in": [], "uploads": [response.json()]}
    gone = client.request("DELETE", place)
    assert (gone.status_code, gone.content) == (204, b"")
    problem(client.get(place), 404, "unknown_data")
    problem(client.request("DELETE", place), 404, "unknown_data")
    assert left_in(uploads) == []


def test_size_and_channels_of_the_query_are_heeded(client: Client) -> None:
    mixed = zipped([("1.png", png(height=20)), ("2.png", png(channels=1))])
    found = problem(client.post(PATH, content=mixed, headers=ZIP), 422, "invalid_upload")
    assert found["sizes"] == {"12x20": 1, "12x12": 1}
    made = client.post(f"{PATH}?size=16&channels=1", content=mixed, headers=ZIP).json()
    assert (made["width"], made["height"], made["channels"]) == (16, 16, 1)


@pytest.mark.parametrize(
    "query", ["size=7", "size=513", "size=x", "size=", "channels=2", "sizes=16", "size=16&size=16"]
)
def test_a_query_that_makes_no_sense_is_refused(client: Client, query: str) -> None:
    problem(client.post(f"{PATH}?{query}", content=with_image("x.png"), headers=ZIP), 422, "invalid_request")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 415, "upload_format"),
        (b"hello", 415, "upload_format"),
        (with_image("../x.png"), 422, "invalid_upload"),
        (with_image("x.png")[:-30], 422, "invalid_upload"),
        (with_image("x.txt", b"hello"), 422, "invalid_upload"),
        (with_image("x.png", b"\0" * 10_000_000), 413, "upload_too_large"),
        (npz(images=np.zeros((4, 12, 12))), 422, "invalid_upload"),
        (os.urandom(400_000), 413, "upload_too_large"),
    ],
)
def test_a_refusal_says_why_and_leaves_nothing(
    client: Client, uploads: Path, content: bytes, status: int, code: str
) -> None:
    found = problem(client.post(PATH, content=content, headers=ZIP), status, code)
    assert len(found["detail"]) > 30
    assert left_in(uploads) == []


@pytest.mark.parametrize(
    "kind", ["application/json", "image/png", "application/x-www-form-urlencoded", "text/plain", ""]
)
def test_other_content_types_are_refused(client: Client, kind: str) -> None:
    response = client.post(PATH, content=with_image("x.png"), headers={"content-type": kind})
    assert "curl -F file=@images.zip" in problem(response, 415, "unsupported_media_type")["detail"]


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> tuple[bytes, dict[str, str]]:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end
    return body, {"content-type": "multipart/form-data; boundary=b"}


FILE = b'content-disposition: form-data; name="file"; filename="x.zip"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (form(), "no file"),
        (form(b'content-disposition: form-data; name="size"\r\n\r\n16', FILE + with_image("x.png")), "query"),
        (form(FILE + with_image("x.png"), FILE + with_image("x.png")), "more than one"),
        (form(FILE + with_image("x.png"), end=b""), "closing boundary"),
        (form(b"x: " + b"y" * 1_000_00 + b"\r\n\r\n"), "form"),
        (form(b"\r\n\r\n"), "no file"),
        (({}, {"content-type": "multipart/form-data"}), "boundary"),
    ],
)
def test_a_form_that_is_not_one_file_is_refused(client: Client, uploads: Path, body: Any, word: str) -> None:
    content, headers = body
    found = problem(client.post(PATH, content=content or b"", headers=headers), 400, "malformed_body")
    assert word in found["detail"]
    assert left_in(uploads) == []


def test_a_declared_length_beyond_the_limit_is_refused_unread(client: Client) -> None:
    async def untouched() -> Any:
        raise AssertionError("the body was read")
        yield b""

    headers = ZIP | {"content-length": "999999999"}
    problem(client.post(PATH, content=untouched(), headers=headers), 413, "upload_too_large")


def test_a_declared_length_that_the_quota_has_no_room_for_is_refused_at_once(store: Path, uploads: Path) -> None:
    sent = []

    async def body() -> Any:
        for _ in range(9000):
            sent.append(1)
            yield bytes(1000)

    with serving(store, uploads=uploads, max_data_mb=10, data_quota_mb=1, lanes=1) as client:
        headers = ZIP | {"content-length": "9000000"}
        problem(client.post(PATH, content=body(), headers=headers), 507, "storage_full")
        assert len(sent) < 9000
        assert left_in(uploads) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(client: Client, uploads: Path) -> None:
    messages = [{"type": "http.request", "body": with_image("x.png")[:500], "more_body": True}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    assert call(client, receive) == (None, b"")
    until(lambda: left_in(uploads) == [])
    assert client.post(PATH, content=with_image("x.png"), headers=ZIP).status_code == 201


def test_a_connection_that_breaks_in_the_middle_leaves_nothing_behind(
    store: Path, uploads: Path, tmp_path: Path
) -> None:
    """Over a socket, to a server of its own."""
    database = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    with process(store, GENSERVE_UPLOADS=str(uploads), GENSERVE_DATABASE=database) as (_, address):
        host, port = address.removeprefix("http://").split(":")
        for whole in (False, True):  # once in the middle of the body, once when the answer is awaited
            body = zipped((f"{i}.png", png(i)) for i in range(2000))
            head = f"POST {PATH}?size=512 HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head.encode() + (body if whole else body[:5000]))
                until(lambda: left_in(uploads) != [])
            until(lambda: left_in(uploads) == [])
        assert httpx.post(f"{address}{PATH}", content=with_image("x.png")).status_code == 201


def test_a_client_that_leaves_while_its_set_is_read_ends_that(
    client: Client, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(_body: Any, _images: Any, _wanted: Any, _limits: Any, patience: Any, _disk: Any) -> None:
        begun.set()
        try:
            while True:
                patience.check()
        finally:
            ended.set()

    monkeypatch.setattr(incoming, "normalise", endless)
    messages = [{"type": "http.request", "body": with_image("x.png"), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        while not begun.is_set():
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    assert call(client, receive) == (None, b"")
    assert ended.wait(20)
    until(lambda: left_in(uploads) == [])


def test_a_form_that_goes_on_behind_its_end_is_refused(client: Client, uploads: Path) -> None:
    """What stands there is of no file, and so of no file's size."""
    sent = []

    async def endless() -> Any:
        yield form(FILE + with_image("x.png"))[0]
        while True:
            sent.append(1)
            yield b"\r\n" * 5_000

    problem(client.post(PATH, content=endless(), headers=form()[1]), 413, "upload_too_large")
    assert len(sent) * 10_000 < 2 * SMALL_MB * 1e6
    until(lambda: left_in(uploads) == [])


def test_a_client_that_sends_too_slowly_is_told_so(client: Client, uploads: Path) -> None:
    client.app.state.data.pace = Pace(grace_s=0.1, bytes_per_s=1e6)
    messages = [{"type": "http.request", "body": b"PK\x03\x04", "more_body": True}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    status, answer = call(client, receive)
    assert (status, b"upload_too_slow" in answer) == (408, True)
    until(lambda: left_in(uploads) == [])


def test_uploads_beyond_those_at_once_are_refused_and_nothing_else_waits(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Semaphore(0), threading.Event()
    normalise = incoming.normalise

    def held(*args: Any) -> Any:
        begun.release()
        assert go.wait(30)
        return normalise(*args)

    monkeypatch.setattr(incoming, "normalise", held)

    async def post(seed: int) -> httpx.Response:
        return await client.http.post(PATH, content=npz(images=images(seed)), headers=ZIP)

    loop: asyncio.AbstractEventLoop = client._loop
    waiting = [asyncio.run_coroutine_threadsafe(post(seed), loop) for seed in range(AT_ONCE)]
    for _ in waiting:
        assert begun.acquire(timeout=20)
    refused = client.post(PATH, content=with_image("x.png"), headers=ZIP)
    problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert client.get("/health/live").status_code == 200
    assert client.get(PATH).json()["uploads"] == []
    go.set()
    assert [work.result(30).status_code for work in waiting] == [201] * AT_ONCE
    assert len(client.get(PATH).json()["uploads"]) == AT_ONCE
    assert client.post(PATH, content=with_image("x.png"), headers=ZIP).status_code == 201


def test_a_set_that_a_live_job_names_stays_until_the_job_is_over(client: Client) -> None:
    made = client.post(PATH, content=npz(images=images(n=40)), headers=ZIP).json()
    recipe = {
        "name": "small",
        "family": "vae",
        "data": {"name": "upload", "upload": made["id"]},
        "model": {"latent_dim": 4},
        "train": {"rounds": 1},
    }
    ordered = client.post("/training/jobs", {"recipe": recipe, "overrides": {}})
    assert ordered.status_code == 202, ordered.text
    place = f"{PATH}/{made['id']}"
    problem(client.request("DELETE", place), 409, "data_in_use")
    assert client.get(place).status_code == 200
    assert client.request("DELETE", ordered.json()["links"]["self"]).status_code == 200
    assert client.request("DELETE", place).status_code == 204


def test_a_full_disk_is_told_of(client: Client, uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    problem(client.post(PATH, content=with_image("x.png"), headers=ZIP), 507, "storage_full")
    until(lambda: left_in(uploads) == [])


def test_sets_that_recipes_know_by_name_are_listed_where_they_are_found(client: Client, tmp_path: Path) -> None:
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "fashion_mnist.npz").touch()
    assert client.get(PATH).json()["built_in"] == [{"name": "fashion-mnist", "data": "fashion-mnist"}]


@pytest.mark.parametrize("name", ["x", "0" * 63, "..%2F..%2Fetc", "A" * 64, "%00"])
def test_what_is_no_id_is_not_found(client: Client, name: str) -> None:
    for method in ("GET", "DELETE"):
        assert client.request(method, f"{PATH}/{name}").status_code == 404


def test_without_a_database_uploads_are_taken_and_none_is_removed(store: Path, uploads: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with serving(store, uploads=uploads, database=nowhere, lanes=1) as client:
        place = client.post(PATH, content=with_image("x.png"), headers=ZIP).headers["location"]
        problem(client.request("DELETE", place), 503, "database_unavailable")
        assert client.get(place).status_code == 200


def test_a_service_that_takes_no_jobs_takes_no_data(store: Path, uploads: Path) -> None:
    with serving(store, uploads=uploads, training=False, lanes=1) as client:
        problem(client.post(PATH, content=with_image("x.png"), headers=ZIP), 404, "training_off")
        problem(client.get(PATH), 404, "training_off")
    assert not uploads.exists()


def test_an_upload_under_way_when_the_service_ends_leaves_nothing(store: Path, uploads: Path) -> None:
    began = threading.Event()

    async def half() -> Any:
        yield b"PK\x03\x04" * 100
        began.set()
        await asyncio.Event().wait()

    with serving(store, uploads=uploads, lanes=1) as client:
        post = client.http.post(PATH, content=half(), headers=ZIP)
        work = asyncio.run_coroutine_threadsafe(post, client._loop)
        assert began.wait(20)
        until(lambda: left_in(uploads) != [])
        client.app.state.data.close()
        assert left_in(uploads) == []
        work.cancel()


def test_the_document_describes_what_is_sent_and_answered(client: Client) -> None:
    document = client.get("/openapi.json").json()
    post = document["paths"][PATH]["post"]
    assert {parameter["name"] for parameter in post["parameters"]} == {"size", "channels"}
    assert {"application/zip", "multipart/form-data"} <= set(post["requestBody"]["content"])
    assert set(post["responses"]) == {"201", "400", "404", "408", "413", "415", "422", "503", "507"}
    schemas = document["components"]["schemas"]
    assert {"UploadAnswer", "DataAnswer"} <= set(schemas)
    assert set(document["paths"][f"{PATH}/{{id}}"]) == {"get", "delete"}
