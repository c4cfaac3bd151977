"""Whatever JSON or bytes come in, the answer is no 500."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.support import JSON, Client

PATHS = ["/sample", "/interpolate", "/encode", "/reconstruct"]
KEYS = [
    *("model", "n", "seed", "start", "truncation", "label", "codes", "prompt", "latents", "include"),
    *("images", "resize", "from", "to", "via", "steps", "method", "loop"),
]
INNER = ["seed", "index", "latent", "image"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 40),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["fashion-vae", "gan@1", "ae", "cvae", "cat", "slerp", "lerp", "latents", "AAAA"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(INNER), inner, max_size=3),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), values, max_size=6)
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(client: Client, path: str, *, refusals: frozenset[int] = frozenset(), **options: Any) -> None:
    response = client.post(path, **options)
    status = response.status_code
    assert status == 200 or 400 <= status < 500 or status in refusals, response.text
    if status != 200:
        assert set(response.json()) >= {"type", "title", "status", "detail", "code", "request_id"}


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(body=bodies)
def test_any_json_is_answered_or_refused(client: Client, path: str, body: dict[str, Any]) -> None:
    try:
        content = orjson.dumps(body)
    except (TypeError, ValueError):  # integers of more than 64 bits and lone surrogates are for the test of bytes
        content = repr(body).encode("utf-8", "surrogatepass")
    check(client, path, content=content, headers=JSON)


KINDS = [
    "application/json",
    "application/x-npy",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "image/png",
    ";",
    "\\x",
]
STARTS = [b"", b"--b\r\n", b"\x93NUMPY\x01\x00v\x00{", b'{"images":']


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(content=st.binary(max_size=200), prefix=st.sampled_from(STARTS))
def test_any_bytes_are_answered_or_refused(client: Client, kind: str, prefix: bytes, content: bytes) -> None:
    for path in PATHS:
        check(client, path, content=prefix + content, headers={"content-type": kind})


LATIN = st.characters(codec="latin-1", exclude_categories=["Cc"])
FORM_PART = (
    b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n',
    b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n',
)


@FUZZ
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(FORM_PART),
            st.sampled_from(KEYS),
            scalars.map(str) | st.sampled_from(["[1,2]", "{}", "[[1]]"]),
        ),
        max_size=5,
    )
)
def test_any_form_is_answered_or_refused(client: Client, parts: list[tuple[bytes, str, str]]) -> None:
    content = b"".join(
        part % (name.encode(), value.encode("utf-8", "replace").replace(b"\r", b"")) for part, name, value in parts
    )
    for path in PATHS:
        check(client, path, content=content + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"})


@FUZZ
@given(accept=st.text(LATIN, max_size=60), query=st.text(max_size=20))
def test_any_header_and_query_is_answered_or_refused(client: Client, accept: str, query: str) -> None:
    value = accept.encode("latin-1")
    check(client, "/sample", json={}, headers={"accept": value, "x-request-id": value}, params={"quality": query})
    check(client, "/sample", refusals=frozenset({504}), json={}, headers={"x-timeout-ms": value})
