"""The OpenAPI document is complete, and what it shows works."""

from typing import Any

import pytest
from pydantic import BaseModel

from service.answers import (
    ImagesAnswer,
    LatentsAnswer,
    LiveAnswer,
    ModelDetails,
    ModelsAnswer,
    Problem,
    ReadyAnswer,
)
from tests.service.support import Client

DRAWING = ["/sample", "/interpolate", "/encode", "/reconstruct"]


@pytest.fixture(scope="module")
def document(client: Client) -> Any:
    return client.get("/openapi.json").json()


def examples(document: Any) -> list[tuple[str, str, Any]]:
    found = []
    for path in DRAWING:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        found += [(path, name, example["value"]) for name, example in body.get("examples", {}).items()]
    return found


def test_every_example_works_as_it_is(client: Client, document: Any) -> None:
    found = examples(document)
    assert {path for path, _, _ in found} == set(DRAWING)
    for path, name, value in found:
        response = client.post(path, value)
        assert response.status_code == 200, (path, name, response.text)
        schema = LatentsAnswer if path == "/encode" else ImagesAnswer
        schema.model_validate(response.json())


ALIAS = "/models/{name}/aliases/{alias}"


def test_every_path_and_method_is_there(document: Any) -> None:
    found = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert {one for one in found if not one[0].startswith("/training/")} == {
        *((path, "post") for path in (*DRAWING, ALIAS, f"{ALIAS}/rollback")),
        (ALIAS, "delete"),
        ("/models/{name}/aliases", "get"),
        *((path, "get") for path in ("/models", "/models/{ref}", "/health/live", "/health/ready", "/metrics")),
    }


def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(references, node))
        if not isinstance(node, dict):
            return set()
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


@pytest.mark.parametrize("path", DRAWING)
def test_errors_are_declared_as_problem_documents(document: Any, path: str) -> None:
    responses = document["paths"][path]["post"]["responses"]
    for status in ("400", "404", "406", "409", "413", "415", "422", "500", "503", "504"):
        schema = responses[status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize("path", DRAWING)
def test_declared_formats_are_answered(client: Client, document: Any, path: str) -> None:
    value = next(value for where, _, value in examples(document) if where == path)
    for media_type in document["paths"][path]["post"]["responses"]["200"]["content"]:
        response = client.post(path, value, headers={"accept": media_type})
        assert (response.status_code, response.headers["content-type"]) == (200, media_type)


def test_fields_are_those_of_the_design(document: Any) -> None:
    def fields(name: str) -> set[str]:
        return set(document["components"]["schemas"][name]["properties"])

    sample = "model n seed start truncation label codes prompt latents include"
    assert fields("SampleRequest") == {*sample.split()}
    assert fields("InterpolateRequest") == {"model", "from", "to", "via", "steps", "method", "loop", "label", "resize"}
    assert fields("EncodeRequest") == {"model", "images", "label", "resize"}
    assert fields("ReconstructRequest") == {"model", "images", "label", "resize", "include"}


def test_problem_documents_fit_their_schema(client: Client) -> None:
    for response in (client.get("/nothing"), client.post("/sample", {"n": 0}), client.post("/sample", {"model": "x"})):
        Problem.model_validate(response.json())


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/models", ModelsAnswer),
        ("/models/cvae", ModelDetails),
        ("/models/ae", ModelDetails),
        ("/health/live", LiveAnswer),
        ("/health/ready", ReadyAnswer),
    ],
)
def test_answers_fit_their_schemas(client: Client, path: str, schema: type[BaseModel]) -> None:
    schema.model_validate(client.get(path).json())
