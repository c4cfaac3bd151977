"""Whatever is wrong with a request, the answer is a problem document of one shape with a stable code."""

import asyncio
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.support import DAMAGED, JSON, NPY, Client, base64_of, file_of, npy_of, picture, serving


def bomb(side: int = 20_000) -> bytes:
    """A PNG of side × side pixels in a few kB: rows of zeros compress 1000-fold twice over."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def npy_header(shape: str, dtype: str = "<f4") -> bytes:
    """An `.npy` file that says a shape and holds nothing."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


GOOD = file_of(picture(16, 16))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"/>'
GIF = file_of(
    picture(16, 16), "GIF", save_all=True, append_images=[__import__("PIL.Image").Image.new("L", (16, 16), 9)]
)
LATENTS = np.zeros((2, 8), np.float32)
Case = tuple[str, str, dict[str, Any], int, str]


def body(path: str, value: Any, status: int, code: str) -> Case:
    return ("POST", path, {"json": value}, status, code)


def raw(path: str, content: bytes, headers: dict[str, str], status: int, code: str) -> Case:
    return ("POST", path, {"content": content, "headers": headers}, status, code)


def upload(content: bytes, code: str = "invalid_image", **fields: Any) -> Case:
    return body("/encode", {"images": [base64_of(content)]} | fields, 422, code)


CASES: dict[str, Case] = {
    "n of a wrong type": body("/sample", {"n": "3"}, 422, "invalid_request"),
    "n as a float": body("/sample", {"n": 3.0}, 422, "invalid_request"),
    "true for a number": body("/sample", {"n": True}, 422, "invalid_request"),
    "true for a seed": body("/sample", {"seed": True}, 422, "invalid_request"),
    "true for a label": body("/sample", {"model": "cvae", "label": True}, 422, "invalid_request"),
    "n of zero": body("/sample", {"n": 0}, 422, "invalid_request"),
    "negative n": body("/sample", {"n": -1}, 422, "invalid_request"),
    "huge n": body("/sample", {"n": 10**9}, 422, "invalid_request"),
    "n beyond 64 bits": body("/sample", {"n": 10**30}, 422, "invalid_request"),
    "negative seed": body("/sample", {"seed": -1}, 422, "invalid_request"),
    "huge seed": body("/sample", {"seed": 2**53}, 422, "invalid_request"),
    "start past the end": body("/sample", {"start": 2**53 - 1, "n": 2}, 422, "invalid_request"),
    "unknown field": body("/sample", {"number": 3}, 422, "invalid_request"),
    "unknown include": body("/sample", {"include": ["pixels"]}, 422, "invalid_request"),
    "truncation too large": body("/sample", {"truncation": 3}, 422, "invalid_request"),
    "label without classes": body("/sample", {"label": 1}, 422, "invalid_request"),
    "label that is none": body("/sample", {"model": "cvae", "label": "cow"}, 422, "invalid_request"),
    "label out of range": body("/sample", {"model": "cvae", "label": 3}, 422, "invalid_request"),
    "negative label": body("/sample", {"model": "cvae", "label": -1}, 422, "invalid_request"),
    "too few labels": body("/sample", {"model": "cvae", "n": 3, "label": [0, 1]}, 422, "invalid_request"),
    "codes nobody takes": body("/sample", {"codes": [[1.0]]}, 422, "invalid_request"),
    "prompt nobody takes": body("/sample", {"prompt": "a shoe"}, 422, "invalid_request"),
    "latents too short": body("/sample", {"latents": [[0.0] * 7]}, 422, "invalid_latents"),
    "ragged latents": body("/sample", {"latents": [[0.0] * 8, [0.0] * 7]}, 422, "invalid_latents"),
    "latents as text": body("/sample", {"latents": "zeros"}, 422, "invalid_latents"),
    "text among latents": body("/sample", {"latents": [["0"] * 8]}, 422, "invalid_latents"),
    "true among latents": body("/sample", {"latents": [[True] * 8]}, 422, "invalid_latents"),
    "no latents": body("/sample", {"latents": []}, 422, "invalid_latents"),
    "latents too large": body("/sample", {"latents": [[1e300] * 8]}, 422, "invalid_latents"),
    "latents and another n": body("/sample", {"latents": [[0.0] * 8], "n": 2}, 422, "invalid_request"),
    "latents and truncation": body("/sample", {"latents": [[0.0] * 8], "truncation": 0.5}, 422, "invalid_request"),
    "NaN in JSON": raw("/sample", b'{"latents": [[NaN]]}', JSON, 400, "malformed_body"),
    "NaN latents": raw("/sample", npy_of(LATENTS * np.nan), NPY, 422, "invalid_latents"),
    "infinite latents": raw("/sample", npy_of(LATENTS + np.inf), NPY, 422, "invalid_latents"),
    "latents as uint8": raw("/sample", npy_of(LATENTS[:, :3].astype(np.uint8)), NPY, 422, "invalid_latents"),
    "latents of objects": raw("/sample", npy_of(np.array([None])), NPY, 400, "malformed_body"),
    "latents of complex numbers": raw("/sample", npy_of(LATENTS.astype(complex)), NPY, 400, "malformed_body"),
    "truncated .npy": raw("/sample", npy_of(LATENTS)[:-3], NPY, 400, "malformed_body"),
    "empty .npy": raw("/sample", b"", NPY, 400, "malformed_body"),
    "malformed JSON": raw("/sample", b'{"n": ', JSON, 400, "malformed_body"),
    "JSON that is a list": raw("/sample", b"[1]", JSON, 400, "malformed_body"),
    "JSON a thousand deep": raw("/sample", b"[" * 100_000, JSON, 400, "malformed_body"),
    "JSON that is no UTF-8": raw("/sample", b'{"model": "\xff"}', JSON, 400, "malformed_body"),
    "a form that is none": raw("/sample", b"x", {"content-type": "multipart/form-data"}, 400, "malformed_body"),
    "a form of another boundary": raw(
        "/sample", b"--a\r\n\r\n", {"content-type": "multipart/form-data; boundary=b"}, 400, "malformed_body"
    ),
    "another content type": raw("/sample", b"n=3", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
    "image as body of /sample": raw("/sample", GOOD, {"content-type": "image/png"}, 415, "unsupported_media_type"),
    "unknown query parameter": body("/sample?n=3", {}, 422, "invalid_request"),
    "quality out of range": body("/sample?quality=101", {}, 422, "invalid_request"),
    "unknown model": body("/sample", {"model": "nobody"}, 404, "unknown_model"),
    "unknown version": body("/sample", {"model": "gan@7"}, 404, "unknown_model"),
    "no version after the @": body("/sample", {"model": "gan@"}, 404, "unknown_model"),
    "unknown alias": body("/sample", {"model": "gan@stable"}, 404, "unknown_model"),
    "a path for a model": body("/sample", {"model": "../../etc/passwd"}, 404, "unknown_model"),
    "a version of many digits": body("/sample", {"model": "gan@" + "9" * 5000}, 404, "unknown_model"),
    "damaged bundle": body("/sample", {"model": DAMAGED}, 409, "model_refused"),
    "no prior": body("/sample", {"model": "ae"}, 409, "prior_missing"),
    "no encoder": body("/encode", {"model": "gan", "images": [base64_of(GOOD)]}, 409, "graph_missing"),
    "no encoder to reconstruct": body(
        "/reconstruct", {"model": "gan", "images": [base64_of(GOOD)]}, 409, "graph_missing"
    ),
    "no encoder for a point": body(
        "/interpolate",
        {"model": "gan", "from": {"image": base64_of(GOOD)}, "to": {"seed": 1}},
        409,
        "graph_missing",
    ),
    "no images": body("/encode", {}, 422, "invalid_request"),
    "an empty list of images": body("/encode", {"images": []}, 422, "invalid_request"),
    "images that are numbers": body("/encode", {"images": [3]}, 422, "invalid_request"),
    "images that are no base64": body("/encode", {"images": ["~~~"]}, 422, "invalid_request"),
    "too many images": body("/encode", {"images": [base64_of(GOOD)] * 129}, 422, "invalid_request"),
    "an image without bytes": upload(b""),
    "truncated PNG": upload(GOOD[: len(GOOD) // 2]),
    "truncated JPEG": upload(file_of(picture(16, 16), "JPEG")[:300]),
    "a PNG header alone": upload(GOOD[:20]),
    "text as image": upload(b"this is no image"),
    "SVG": upload(SVG),
    "animated GIF": upload(GIF),
    "20,000 by 20,000 PNG of a few kB": upload(bomb()),
    "8,000 by 8,000 PNG to be resized": upload(bomb(8000), resize=True),
    "an image of another size": upload(file_of(picture(16, 15))),
    "an encoder that needs a label": body(
        "/encode", {"model": "cvae", "images": [base64_of(file_of(picture(8, 8)))]}, 422, "invalid_request"
    ),
    "an array of another type": raw("/encode", npy_of(np.zeros((1, 16, 16, 1), "i2")), NPY, 400, "malformed_body"),
    "an array of two channels": raw("/encode", npy_of(np.zeros((1, 16, 16, 2), "u1")), NPY, 422, "invalid_image"),
    "an array of no images": raw("/encode", npy_of(np.zeros((0, 16, 16, 1), "u1")), NPY, 400, "malformed_body"),
    "an array of no axes": raw("/sample", npy_of(np.array(1, np.float32)), NPY, 400, "malformed_body"),
    "an array of too many images": raw("/encode", npy_of(np.zeros((129, 1, 1, 1), "u1")), NPY, 422, "invalid_request"),
    "a big-endian array": raw("/sample", npy_of(LATENTS.astype(">f4")), NPY, 400, "malformed_body"),
    "an array of terabytes": raw("/sample", npy_header("(10**12, 32)"), NPY, 400, "malformed_body"),
    "an array of 100 million times nothing": raw(
        "/encode", npy_header("(100000000, 0, 28, 1)", "|u1"), NPY, 400, "malformed_body"
    ),
    "an array beyond 64 bits": raw("/sample", npy_header("(0, 9223372036854775808)"), NPY, 400, "malformed_body"),
    "an array of negative axes": raw("/sample", npy_header("(-1, -1)") + bytes(4), NPY, 400, "malformed_body"),
    "an array whose axes are booleans": raw(
        "/sample", npy_header("(True, True)") + bytes(4), NPY, 400, "malformed_body"
    ),
    "a seed beyond 64 bits": raw("/sample", b'{"seed": %d}' % 2**70, JSON, 422, "invalid_request"),
    "a number beyond double precision": raw("/sample", b'{"seed": 1e400}', JSON, 400, "malformed_body"),
    "a form of 10,000 parts": raw(
        "/sample",
        b'--b\r\nContent-Disposition: form-data; name="include"\r\n\r\nlatents\r\n' * 10_000 + b"--b--\r\n",
        {"content-type": "multipart/form-data; boundary=b"},
        400,
        "malformed_body",
    ),
    "a hundred thousand fields": raw(
        "/sample", b'{"a": 0' + b"".join(b',"%d":0' % i for i in range(90_000)) + b"}", JSON, 422, "invalid_request"
    ),
    "a point of many members": body(
        "/interpolate", {"from": {"seed": 1, "a": 1, "b": 1}, "to": {"seed": 2}}, 422, "invalid_request"
    ),
    "floats beyond one": raw("/encode", npy_of(np.full((1, 1, 16, 16), 2, "f4")), NPY, 400, "malformed_body"),
    "one step": body("/interpolate", {"from": {"seed": 1}, "to": {"seed": 2}, "steps": 1}, 422, "invalid_request"),
    "too many steps": body(
        "/interpolate", {"from": {"seed": 1}, "to": {"seed": 2}, "steps": 65}, 422, "invalid_request"
    ),
    "too many waypoints": body(
        "/interpolate", {"from": {"seed": 1}, "to": {"seed": 2}, "via": [{"seed": 1}] * 99}, 422, "invalid_request"
    ),
    "no end": body("/interpolate", {"from": {"seed": 1}}, 422, "invalid_request"),
    "a point of no kind": body("/interpolate", {"from": {}, "to": {"seed": 2}}, 422, "invalid_request"),
    "a point of two kinds": body(
        "/interpolate", {"from": {"seed": 1, "latent": [0.0]}, "to": {"seed": 2}}, 422, "invalid_request"
    ),
    "a point that is a number": body("/interpolate", {"from": 1, "to": {"seed": 2}}, 422, "invalid_request"),
    "unknown method": body(
        "/interpolate", {"from": {"seed": 1}, "to": {"seed": 2}, "method": "cubic"}, 422, "invalid_request"
    ),
    "a code without direction": body(
        "/interpolate", {"from": {"latent": [0.0] * 8}, "to": {"seed": 2}}, 422, "invalid_latents"
    ),
    "a code of another size": body(
        "/interpolate", {"from": {"latent": [1.0] * 9}, "to": {"seed": 2}}, 422, "invalid_latents"
    ),
    "seeds without prior": body(
        "/interpolate", {"model": "ae", "from": {"seed": 1}, "to": {"seed": 2}}, 409, "prior_missing"
    ),
    "codes without class": body(
        "/interpolate", {"model": "cvae", "from": {"latent": [1.0] * 4}, "to": {"latent": [2.0] * 4}}, 422,
        "invalid_request",
    ),
    "an Accept nobody can please": (
        "POST", "/sample", {"json": {}, "headers": {"accept": "text/html"}}, 406, "not_acceptable",
    ),
    "an Accept that rules all out": (
        "POST", "/sample", {"json": {}, "headers": {"accept": "*/*;q=0"}}, 406, "not_acceptable",
    ),
    "codes as PNG": (
        "POST", "/encode", {"json": {"images": [base64_of(GOOD)]}, "headers": {"accept": "image/png"}}, 406,
        "not_acceptable",
    ),
    "no number of milliseconds": (
        "POST", "/sample", {"json": {}, "headers": {"x-timeout-ms": "soon"}}, 422, "invalid_request",
    ),
    "NaN milliseconds": (
        "POST", "/sample", {"json": {}, "headers": {"x-timeout-ms": "nan"}}, 422, "invalid_request",
    ),
    "negative milliseconds": (
        "POST", "/sample", {"json": {}, "headers": {"x-timeout-ms": "-1"}}, 422, "invalid_request",
    ),
    "a deadline that has passed": (
        "POST", "/sample", {"json": {}, "headers": {"x-timeout-ms": "0.000001"}}, 504, "deadline_exceeded",
    ),
    "a body that is too large": raw("/sample", b" " * 1_000_001, JSON, 413, "body_too_large"),
    "unknown path": ("GET", "/nothing", {}, 404, "not_found"),
    "unknown model to show": ("GET", "/models/nobody", {}, 404, "unknown_model"),
    "damaged model to show": ("GET", f"/models/{DAMAGED}", {}, 409, "model_refused"),
    "GET of /sample": ("GET", "/sample", {}, 405, "method_not_allowed"),
    "POST of /models": ("POST", "/models", {}, 405, "method_not_allowed"),
    "DELETE of a model": ("DELETE", "/models/gan", {}, 405, "method_not_allowed"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_bad_request_gets_a_problem_document_with_its_code(client: Client, case: Case) -> None:
    method, path, options, status, code = case
    response = client.request(method, path, **options)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"] == f"urn:genserve:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]


def test_service_goes_on_after_all_of_them(client: Client) -> None:
    for method, path, options, *_ in CASES.values():
        client.request(method, path, **options)
    assert client.post("/sample", {"n": 1}).status_code == 200
    assert client.get("/health/ready").status_code == 200


def test_bomb_is_as_small_as_it_is_said_to_be() -> None:
    assert len(bomb()) < 100_000


def test_missing_graph_names_the_models_that_have_it(client: Client) -> None:
    problem = client.post("/encode", {"model": "gan", "images": [base64_of(GOOD)]}).json()
    assert problem["models"] == ["ae", "colour-vae", "cvae", "fashion-vae"]
    assert "colour-vae" in problem["detail"]


def test_unknown_model_names_those_that_there_are(client: Client) -> None:
    assert "fashion-vae" in client.post("/sample", {"model": "nobody"}).json()["detail"]


def test_autoencoder_without_prior_is_told_how_to_get_one(client: Client) -> None:
    detail = client.post("/sample", {"model": "ae"}).json()["detail"]
    assert "not a generative model" in detail
    assert 'prior = "mixture"' in detail


def test_too_many_images_name_the_limit(client: Client) -> None:
    problem = client.post("/sample", {"n": 129}).json()
    assert problem["limit"] == 128
    assert "max_images" in problem["detail"]


def test_all_wrong_fields_are_listed(client: Client) -> None:
    problem = client.post("/sample", {"n": "3", "seed": -1, "colour": "red"}).json()
    assert {entry["field"] for entry in problem["errors"]} == {"n", "seed", "colour"}
    assert "'3'" in problem["errors"][0]["message"]


def test_wrong_size_is_told_with_both_sizes(client: Client) -> None:
    detail = client.post("/encode", {"images": [base64_of(file_of(picture(30, 20)))]}).json()["detail"]
    assert "20x30" in detail
    assert "16x16" in detail


def test_second_of_three_images_is_named(client: Client) -> None:
    images = [base64_of(content) for content in (GOOD, b"text", GOOD)]
    assert client.post("/encode", {"images": images}).json()["detail"].startswith("image 1: ")


def test_full_queue_is_refused_at_once_with_the_time_to_come_back(store: Path) -> None:
    with serving(store, queue_images=4, lanes=1, max_wait_ms=300, max_batch_size=64) as client:

        async def many() -> Any:
            return await asyncio.gather(*(client.http.post("/sample", json={"n": 3, "seed": i}) for i in range(8)))

        responses = client.run(many())
    refused = [response for response in responses if response.status_code != 200]
    assert 0 < len(refused) < 8
    for response in refused:
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert int(response.headers["retry-after"]) >= 1


def test_long_values_are_not_sent_back_whole(client: Client) -> None:
    long = "x" * 100_000
    for value in ({"label": long, "model": "cvae"}, {long: 1}, {"seed": long}, {"model": long}, {"include": [long]}):
        assert len(client.post("/sample", value).content) < 2000


def test_method_not_allowed_says_which_are(client: Client) -> None:
    assert client.get("/sample").headers["allow"] == "POST"


def test_sane_request_id_comes_back_and_others_are_replaced(client: Client) -> None:
    given = client.get("/nothing", headers={"x-request-id": "abc-123"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "abc-123"
    replaced = client.get("/nothing", headers={"x-request-id": "a b\tc" * 99})
    assert replaced.headers["x-request-id"] == replaced.json()["request_id"]
    assert re.fullmatch("[0-9a-f]{20}", replaced.headers["x-request-id"])


def test_unforeseen_exception_is_500_without_a_word_of_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("service.routes.sample.check_count", break_down)
    response = client.post("/sample", {})
    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert "secret" not in response.text
    logged = capsys.readouterr()
    assert "ZeroDivisionError" in logged.out + logged.err


def test_body_without_length_is_refused_while_it_streams(client: Client) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    response = client.post("/sample", content=endless(), headers=JSON)
    assert response.status_code == 413
    assert sent < 2_000_000


def test_problem_is_json_that_says_status_and_title_of_its_class(client: Client) -> None:
    assert json.loads(client.get("/nothing").content)["title"] == "Not found"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/sample", b'{"include": [%s0]}'),
        ("/sample", b'{"latents": [%s""]}'),
        ("/sample", b'{"latents": [[%s""]]}'),
        ("/sample", b'{"label": [%s0]}'),
        ("/encode", b'{"images": [%s0]}'),
        ("/interpolate", b'{"from": {"latent": [%s""]}, "to": {"seed": 1}}'),
    ],
)
def test_first_of_many_wrong_entries_is_enough(client: Client, path: str, content: bytes) -> None:
    """Each error that is kept costs a hundred times the bytes of the entry that caused it."""
    few, many = (client.post(path, content=content % (b'"",' * n), headers=JSON) for n in (100, 100_000))
    assert (few.status_code, many.status_code) == (422, 422)
    assert len(many.content) < 1000


def test_json_that_is_no_object_is_shown_what_would_be_one(client: Client) -> None:
    assert 'one such as {"n": 3}' in client.post("/sample", content=b"null", headers=JSON).json()["detail"]
