"""Request bodies of every kind to the fields of a schema: JSON, multipart, `.npy`, an image file as it is."""

from typing import Any

import numpy as np
import orjson
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from bundle.pixels import from_graph
from service.errors import BodyTooLargeError, InvalidRequestError, MalformedBodyError, UnsupportedMediaTypeError
from service.formats.arrays import read_npy
from service.forms import read_form

Fields = dict[str, Any]

_LISTS = {"images", "include", "via"}  # repeated parts of a form, or one of them, make a list
_POINTS = {"from", "to", "via"}
_COUNTED = {"images", "latents", "codes", "label", "via"}
_MOST_FIELDS = 64
_JSON = "application/json"


async def read_body(receive: Receive, declared: bytes, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it.

    Args:
        receive: Of the request.
        declared: Its Content-Length, empty if there is none.
        limit: Bytes.

    Raises:
        BodyTooLargeError: As soon as it is known, so a body without Content-Length costs no more memory either.
        ClientDisconnect: If the client left before sending all of it.
    """
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(f"{int(declared[:20])} bytes", limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(f"more than {limit} bytes", limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_body(raw: bytes, content_type: str, query: QueryParams, array_field: str, most: int) -> Fields:
    """Fields that the body says, and the query where the body has no room for them.

    Args:
        raw: The body.
        content_type: Of the body.
        query: Further fields; only beside `.npy` and image bodies.
        array_field: What an `.npy` body holds: "latents" or "images".
        most: Entries of any list, judged before a schema looks at them one by one.

    Raises:
        MalformedBodyError: If it is not what its content type says.
        UnsupportedMediaTypeError: If it is of a kind that is not read here.
        InvalidRequestError: If a field is there twice, or holds too much.
    """
    return _bounded(_fields(raw, content_type, query, array_field, most), most)


def _fields(raw: bytes, content_type: str, query: QueryParams, array_field: str, most: int) -> Fields:
    kind = _JSON if content_type == _JSON else content_type.partition(";")[0].strip().lower()
    if kind == _JSON or kind.endswith("+json"):
        return _only_body(query, _read_json(raw))
    if kind == "multipart/form-data":
        return _only_body(query, _read_form(raw, content_type))
    if kind == "application/x-npy" and array_field:
        array = read_npy(raw)
        value = array if array_field == "latents" else _unstack(array, most)
        return _with_query(query, {array_field: value})
    if kind.startswith("image/") and array_field == "images":
        return _with_query(query, {"images": [raw]})
    raise UnsupportedMediaTypeError(
        f"the content type is {kind!r}; expected application/json (curl: -H 'content-type: application/json')"
        + _other_kinds(array_field)
    )


def _bounded(fields: Fields, most: int) -> Fields:
    if len(fields) > _MOST_FIELDS:
        raise InvalidRequestError(f"the body has {len(fields)} fields; no endpoint has more than {_MOST_FIELDS}")
    for name, value in fields.items():
        if isinstance(value, list) and len(value) > most and name in _COUNTED:
            raise _too_many(name, len(value), most)
    return fields


def _too_many(name: str, found: int, most: int) -> InvalidRequestError:
    return InvalidRequestError(f"{name} has {found} entries; at most {most} are taken (setting max_images)", limit=most)


def _other_kinds(array_field: str) -> str:
    kinds = {
        "images": ", multipart/form-data, application/x-npy or image/*",
        "latents": ", multipart/form-data or application/x-npy",
    }
    return kinds.get(array_field, " or multipart/form-data")


def _read_json(raw: bytes) -> Fields:
    if not raw.strip():
        return {}  # every field may be left out: `curl -X POST /sample` draws one image
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        hint = "; NaN and Infinity are not JSON" if b"NaN" in raw or b"Infinity" in raw else ""
        raise MalformedBodyError(f"the body is not JSON: {error}{hint}") from error
    if not isinstance(found, dict):
        raise MalformedBodyError(f'the body is JSON, but no object: {raw[:20]!r}; expected one such as {{"n": 3}}')
    return found


def _read_form(raw: bytes, content_type: str) -> Fields:
    fields: Fields = {}
    for part in read_form(raw, content_type):
        content = bytes(part.content)
        _add(fields, part.name, content if part.is_file else content.decode("utf-8", "replace"))
    return fields


def _add(fields: Fields, name: str, content: str | bytes) -> None:
    value = typed(name, content) if isinstance(content, str) else content
    if isinstance(value, bytes) and name in _POINTS:
        value = {"image": value}
    if name in _LISTS:
        fields.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    elif name in fields:
        raise InvalidRequestError(f"field {name!r} is there more than once")
    else:
        fields[name] = value


def typed(name: str, text: str) -> Any:
    """What a form field or a query parameter means: JSON if it is that, text if not (`3`, `true`, `Bag`)."""
    if name in ("model", "prompt"):
        return text
    if name == "include":
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _only_body(query: QueryParams, fields: Fields) -> Fields:
    if query:
        raise InvalidRequestError(
            f"unknown query parameters {sorted(query)}; beside quality and fps, fields belong in the body"
        )
    return fields


def _with_query(query: QueryParams, fields: Fields) -> Fields:
    for name, text in query.multi_items():
        _add(fields, name, text)
    return fields


def _unstack(array: np.ndarray[Any, Any], most: int) -> list[np.ndarray[Any, Any]]:
    if array.ndim == 4 and len(array) > most:
        raise _too_many("images", len(array), most)
    if array.dtype == np.uint8 and array.ndim in (2, 3, 4):
        return list(array) if array.ndim == 4 else [array]
    if array.dtype == np.float32 and array.ndim == 4 and np.abs(array).max() <= 1:
        return list(from_graph(array))
    raise MalformedBodyError(
        f"the array is {array.dtype}{array.shape}; expected uint8 (n, height, width, channels) or (height, width"
        "[, channels]), or float32 (n, channels, height, width) with values from -1 to 1"
    )


def _too_large(found: str, limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body has {found}; at most {limit} are taken (setting max_body_mb)", limit=limit)
