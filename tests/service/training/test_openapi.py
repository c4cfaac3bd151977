"""The endpoints under /training in the OpenAPI document: complete, and with examples that work."""

from typing import Any

import pytest

from tests.service.support import Client
from tests.service.training.support import JOBS

JOB = f"{JOBS}/{{id}}"
ENDPOINTS = {
    (JOBS, "post"): {"202", "400", "404", "413", "415", "422", "503"},
    (JOBS, "get"): {"200", "404", "422", "503"},
    (JOB, "get"): {"200", "404", "422", "503"},
    (JOB, "delete"): {"200", "202", "404", "409", "422", "503"},
    (f"{JOB}/resume", "post"): {"202", "404", "409", "422", "503"},
    (f"{JOB}/events", "get"): {"200", "204", "404", "406", "422", "503"},
    (f"{JOB}/pictures/{{event}}", "get"): {"200", "404", "422", "503"},
    ("/training/recipes", "get"): {"200", "404", "422", "503"},
    ("/training/recipes/schema", "get"): {"200", "404", "422", "503"},
    ("/training/recipes/{name}", "get"): {"200", "404", "422", "503"},
    ("/training/workers", "get"): {"200", "404", "422", "503"},
}


@pytest.fixture(scope="module")
def paths(client: Client) -> Any:
    return client.get("/openapi.json").json()["paths"]


def test_endpoints_are_those_of_this_page(paths: Any) -> None:
    found = {(path, method) for path in paths for method in paths[path]}
    assert {one for one in found if one[0].startswith(("/training/jobs", "/training/rec", "/training/work"))} == {
        *ENDPOINTS
    }


@pytest.mark.parametrize(("path", "method"), ENDPOINTS)
def test_statuses_are_declared_and_errors_as_problem_documents(paths: Any, path: str, method: str) -> None:
    responses = paths[path][method]["responses"]
    assert set(responses) == ENDPOINTS[path, method]
    for status, response in responses.items():
        assert response["description"]
        if status >= "400":
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}


def test_every_example_of_an_order_is_taken(client: Client, paths: Any) -> None:
    examples = paths[JOBS]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) >= 3
    for name, example in examples.items():
        answer = client.post(JOBS, example["value"])
        assert answer.status_code == 202, (name, answer.text)


def test_parameters_are_declared(paths: Any) -> None:
    def names(path: str, method: str) -> set[str]:
        return {parameter["name"] for parameter in paths[path][method]["parameters"]}

    assert names(JOBS, "post") == {"Idempotency-Key"}
    assert names(JOBS, "get") == {"state", "name", "family", "limit", "before"}
    assert names(f"{JOB}/events", "get") == {"id", "after", "pictures", "Last-Event-ID"}
