"""What a manifest may say, and that anything else is refused with a message that names the file and the place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bundle.errors import ManifestError
from bundle.hashing import FileRecord
from bundle.manifest import GraphName, Manifest, parse_manifest
from tests.bundle.factory import manifest, write_files

WHERE = Path("store/tiny/1/manifest.json")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return manifest(folder)


@pytest.fixture
def content(valid: Manifest) -> dict[str, Any]:
    """The manifest as JSON, to be spoilt."""
    found: dict[str, Any] = json.loads(valid.to_json())
    return found


def parse(content: object) -> Manifest:
    return parse_manifest(json.dumps(content).encode(), WHERE)


def test_what_is_written_is_read_back_and_written_the_same(valid: Manifest) -> None:
    read = parse_manifest(valid.to_json(), WHERE)
    assert read == valid
    assert read.to_json() == valid.to_json()


def test_the_bytes_are_readable_json_in_the_order_of_the_schema(valid: Manifest) -> None:
    raw = valid.to_json()
    assert raw.endswith(b"}\n")
    assert list(json.loads(raw)) == list(Manifest.model_fields)


def test_text_beyond_ascii_survives(valid: Manifest) -> None:
    labelled = valid.model_copy(update={"labels": ["Hängematte", "靴"]})
    assert "靴".encode() in labelled.to_json()
    assert parse_manifest(labelled.to_json(), WHERE).labels == ["Hängematte", "靴"]


@pytest.mark.parametrize(
    "place", [(), ("image",), ("prior",), ("graphs", "decode"), ("weights",), ("training",), ("data",)]
)
def test_an_unknown_key_is_refused_wherever_it_stands(content: dict[str, Any], place: tuple[str, ...]) -> None:
    inner = content
    for key in place:
        inner = inner[key]
    inner["colour"] = "red"
    with pytest.raises(ManifestError, match=r"store/tiny/1/manifest\.json: .*colour: Extra inputs"):
        parse(content)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, [1]])
def test_an_unknown_schema_version_is_refused(content: dict[str, Any], version: object) -> None:
    content["schema_version"] = version
    with pytest.raises(ManifestError, match="this program reads 1"):
        parse(content)


def test_a_missing_schema_version_is_refused(content: dict[str, Any]) -> None:
    del content["schema_version"]
    with pytest.raises(ManifestError, match="schema_version None"):
        parse(content)


def test_a_newer_schema_is_named_before_its_unknown_keys(content: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="schema_version 2; this program reads 1"):
        parse(content | {"schema_version": 2, "novelty": True})


def test_a_manifest_cut_off_anywhere_is_refused(valid: Manifest) -> None:
    raw = valid.to_json().rstrip()
    for length in range(len(raw)):
        with pytest.raises(ManifestError, match="not JSON"):
            parse_manifest(raw[:length], WHERE)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_with_the_same_error(raw: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(raw, WHERE)


@pytest.mark.parametrize("raw", [b"[]", b"3", b"null", b'"text"', b"[" * 100_000, b"\xff\xfe", b"9" * 5_000])
def test_json_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(raw, WHERE)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["value", "error"])
def test_a_metric_that_is_not_finite_is_refused(content: dict[str, Any], number: str, field: str) -> None:
    metric = {"name": "nats", "value": 1.0, "error": 0.1, "unit": "nats", "protocol": "elbo", "split": "test"}
    raw = json.dumps(content | {"metrics": [metric | {field: -12345}]}).replace("-12345", number)
    with pytest.raises(ManifestError, match=rf"metrics\.0\.{field}: Input should be a finite number"):
        parse_manifest(raw.encode(), WHERE)


def test_a_tolerance_that_is_not_finite_would_switch_the_golden_check_off_and_is_refused(
    content: dict[str, Any],
) -> None:
    content["graphs"]["decode"]["tolerance"] = float("inf")
    with pytest.raises(ManifestError, match=r"graphs\.decode\.tolerance"):
        parse(content)


def test_a_recipe_is_kept_as_json_and_holds_no_nan(valid: Manifest) -> None:
    training = type(valid.training)
    fields = valid.training.model_dump()
    assert training(**fields | {"recipe": {"widths": (8, 16)}}).recipe == {"widths": [8, 16]}
    with pytest.raises(ValidationError, match="not JSON compliant"):
        training(**fields | {"recipe": {"beta": float("nan")}})


@pytest.mark.parametrize(
    "name",
    [
        "../decode.onnx",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "decode.onnx\n",
        "a b",
        "ü.onnx",
        "a\0b",
    ],
)
@pytest.mark.parametrize("field", ["weights", "golden", "preview", "graph"])
def test_a_file_name_that_leaves_the_folder_is_refused(content: dict[str, Any], field: str, name: str) -> None:
    record = content["graphs"]["decode"]["file"] if field == "graph" else content[field]
    record["path"] = name
    with pytest.raises(ManifestError, match="String should match pattern"):
        parse(content)


@pytest.mark.parametrize("name", ["manifest.json", "optional.json", "decode.onnx"])
def test_a_file_name_that_is_taken_is_refused(content: dict[str, Any], name: str) -> None:
    content["weights"]["path"] = name
    with pytest.raises(ManifestError, match="expected a different name for each"):
        parse(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Tiny"),
        ("name", "tiny\n"),
        ("name", "../tiny"),
        ("version", 0),
        ("graphs", {}),
        ("image", {"channels": 2, "height": 4, "width": 4}),
        ("image", {"channels": 1, "height": 0, "width": 4}),
        ("created", "yesterday"),
        ("prior", {"kind": "normal", "dim": 0}),
        ("prior", {"kind": "sphere", "dim": 1}),
        ("parent", {"name": "tiny", "version": 1, "digest": "abc"}),
        ("data", {"name": "n", "sha256": "G" * 64, "licence": "CC0", "attribution": "a"}),
        ("weights", {"path": "w", "sha256": "0" * 64, "bytes": -1}),
    ],
)
def test_values_that_make_no_sense_are_refused_and_named(content: dict[str, Any], key: str, value: object) -> None:
    content[key] = value
    with pytest.raises(ManifestError, match=rf"manifest\.json: {key}"):
        parse(content)


@pytest.mark.parametrize(
    "key", ["name", "version", "family", "created", "graphs", "image", "weights", "golden", "preview"]
)
def test_a_missing_key_is_named(content: dict[str, Any], key: str) -> None:
    del content[key]
    with pytest.raises(ManifestError, match=f"{key}: Field required"):
        parse(content)


def test_a_graph_outside_the_vocabulary_is_refused(content: dict[str, Any]) -> None:
    content["graphs"]["dream"] = content["graphs"].pop("decode")
    with pytest.raises(ManifestError, match=r"graphs\.dream"):
        parse(content)


@pytest.mark.parametrize("shape", [[], [2, 2], ["batch", 2], ["n", 0], ["n", -1]])
def test_a_tensor_without_a_batch_axis_or_with_an_empty_axis_is_refused(
    content: dict[str, Any], shape: list[Any]
) -> None:
    content["graphs"]["decode"]["inputs"][0]["shape"] = shape
    with pytest.raises(ManifestError, match=r"graphs\.decode\.inputs\.0"):
        parse(content)


def test_tensors_are_found_by_name(valid: Manifest) -> None:
    decode = valid.graphs["decode"]
    found = decode.input("z"), decode.output("image")
    assert [tensor.name for tensor in found if tensor] == ["z", "image"]
    assert decode.input("image") is None
    assert decode.output("z") is None


def test_files_are_all_files(valid: Manifest) -> None:
    names = {file.path for file in valid.files()}
    assert names == {"decode.onnx", "weights.safetensors", "golden.npz", "preview.png"}


def test_graph_names_are_those_of_the_design() -> None:
    names = TypeAdapter(list[GraphName]).json_schema()["items"]["enum"]
    assert sorted(names) == sorted(
        ["decode", "encode", "next", "score", "translate", "complete", "assemble", "classify", "discriminate"]
    )


def test_a_record_cannot_be_changed(valid: Manifest) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FileRecord.__setattr__(valid.weights, "path", "other")
