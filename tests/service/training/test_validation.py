"""An order that cannot be carried out is refused on arrival: every field that is wrong, and what is allowed there."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.uploads.store import UploadStore
from tests.service.support import JSON, Client, serving
from tests.service.training.support import JOBS, SMALL, sqlite

FASHION = {"recipe": "fashion-vae"}
CONV = SMALL | {"model": {"network": "conv", "channels": 4, "hidden": [8]}}


def refused(client: Client, order: Any) -> dict[str, dict[str, Any]]:
    """Field → what is said of it."""
    answer = client.post(JOBS, order)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    return {error["field"]: error for error in answer.json()["errors"]}


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    ("order", "field", "allowed"),
    [
        ({}, "recipe", None),
        ({"recipe": 3}, "recipe", None),
        (FASHION | {"recpie": 1}, "recpie", "overrides"),
        (FASHION | {"priority": 101}, "priority", "whole number, -100 to 100"),
        (FASHION | {"priority": "3"}, "priority", "whole number, -100 to 100"),
        (FASHION | {"promotion": "maybe"}, "promotion", "manual"),
        (FASHION | {"device": "tpu"}, "device", None),
        (FASHION | {"name": "../up"}, "name", None),
        ({"recipe": "nobody"}, "recipe", "fashion-vae"),
        ({"recipe": "../configs/fashion-vae"}, "recipe", "fashion-vae"),
        (FASHION | {"data": "cifar"}, "data", "fashion-mnist"),
        (FASHION | {"data": {"name": "cifar"}}, "data.name", "fashion-mnist"),
        (FASHION | {"data": "upload:nothing"}, "data", None),
        (FASHION | {"overrides": {"train.epoch": 2}}, "overrides.train.epoch", "epochs"),
        (FASHION | {"overrides": {"train.epochs": -1}}, "overrides.train.epochs", "number, over 0 to 1,000,000"),
        (FASHION | {"overrides": {"train": {"epochs": "x"}}}, "overrides.train.epochs", None),
        (FASHION | {"overrides": {"name.first": 1}}, "overrides.name.first", None),
        (FASHION | {"overrides": {"": 1}}, "overrides", None),
        ({"recipe": SMALL | {"famly": "vae"}}, "recipe.famly", "family"),
        ({"recipe": SMALL | {"family": "vea"}}, "recipe.family", "gan"),
        ({"recipe": SMALL | {"family": "os.path"}}, "recipe.family", "gan"),
        ({"recipe": SMALL | {"model": {"network": "mpl"}}}, "recipe.model.network", "mlp"),
        ({"recipe": SMALL | {"train": {}}}, "recipe.train.epochs", "epochs alone"),
        ({"recipe": SMALL | {"data": {"name": "folder", "path": "/etc"}}}, "recipe.data.path", None),
        ({"recipe": SMALL | {"data": {"name": "npz", "path": "../x.npz"}}}, "recipe.data.path", None),
        ({"recipe": CONV | {"data": {"name": "folder", "path": "x", "size": 33}}}, "recipe.data.size", None),
        ({"recipe": "folder-vae"}, "recipe.data.path", "path"),
        ({"recipe": "inference"}, "recipe.model.parent", "NAME@VERSION"),
    ],
)
def test_field_that_cannot_be_is_named(client: Client, order: Any, field: str, allowed: str | None) -> None:
    errors = refused(client, order)
    assert list(errors) == [field]
    assert errors[field]["message"]
    if allowed is not None:
        assert allowed in errors[field]["allowed"]


def test_all_fields_that_are_wrong_are_named_at_once(client: Client) -> None:
    wrong = {"train.epochs": 0, "model.latent": 3, "data.name": "cifar", "evaluate.samples": 1}
    order = FASHION | {"overrides": wrong}
    assert set(refused(client, order)) == {f"overrides.{key}" for key in wrong}


def test_refused_order_leaves_no_job(client: Client) -> None:
    before = client.get(JOBS).json()
    refused(client, FASHION | {"overrides": {"train.epochs": 0}})
    assert client.get(JOBS).json() == before


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"recipe=fashion-vae", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"{", JSON, 400, "malformed_body"),
        (b"[1]", JSON, 400, "malformed_body"),
        (b'{"recipe": NaN}', JSON, 400, "malformed_body"),
        (b"[" * 100_000, JSON, 400, "malformed_body"),
        (b'{"recipe": "' + b"x" * 1_100_000 + b'"}', JSON, 413, "body_too_large"),
        (b'{"recipe": {"name": "\\u0000"}}', JSON, 422, "invalid_request"),
        (b"", JSON, 422, "invalid_request"),
    ],
)
def test_body_that_is_no_order_is_refused(
    client: Client, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.post(JOBS, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("field", ["recipe", "overrides", "data"])
@pytest.mark.parametrize("depth", [20, 900])
def test_tables_without_end_are_refused(client: Client, field: str, depth: int) -> None:
    order: Any = FASHION | {field: nested(depth)}
    assert client.post(JOBS, order).json()["code"] in {"invalid_request", "malformed_body"}
    assert client.post(JOBS, FASHION | {"overrides": {"a." * depth + "a": 1}}).status_code == 422


def test_huge_recipe_is_refused(client: Client) -> None:
    order = FASHION | {"overrides": {"data.licence": "x" * 100_000}}
    assert client.post(JOBS, order).status_code == 422


def test_text_that_no_database_stores_is_refused(client: Client) -> None:
    assert client.post(JOBS, FASHION | {"overrides": {"data.licence": "a\x00b"}}).status_code == 422


class TestUploads:
    """An upload that a job names."""

    @pytest.fixture
    def uploads(self, folder: Path) -> UploadStore:
        return UploadStore(folder / "uploads")

    def test_upload_that_is_there_is_taken_by_its_id(self, client: Client, uploads: UploadStore) -> None:
        upload = uploads.receive([npz(16, 16)]).id
        answer = client.post(JOBS, {"recipe": CONV, "data": f"upload:{upload}"})
        assert answer.status_code == 202, answer.text
        data = answer.json()["recipe"]["data"]
        assert (data["name"], data["upload"]) == ("upload", upload)

    def test_upload_that_is_not_there_is_refused_and_those_there_named(
        self, client: Client, uploads: UploadStore
    ) -> None:
        upload = uploads.receive([npz(16, 16)]).id
        error = refused(client, {"recipe": CONV, "data": f"upload:{'0' * 64}"})["data"]
        assert f"upload:{upload}" in error["allowed"]

    def test_upload_of_sides_that_the_network_cannot_take_is_refused(
        self, client: Client, uploads: UploadStore
    ) -> None:
        upload = uploads.receive([npz(15, 16)]).id
        error = refused(client, {"recipe": CONV, "data": f"upload:{upload}"})["recipe.model.network"]
        assert error["allowed"] == ["mlp"]
        assert "16x15" in error["message"]

    def test_upload_without_labels_is_refused_for_a_conditional_model(
        self, client: Client, uploads: UploadStore
    ) -> None:
        upload = uploads.receive([npz(16, 16)]).id
        order = {"recipe": CONV, "data": f"upload:{upload}", "overrides": {"model.conditional": True}}
        assert list(refused(client, order)) == ["overrides.model.conditional"]

    def test_upload_of_a_live_job_cannot_be_removed_and_of_a_cancelled_one_it_can(
        self, client: Client, uploads: UploadStore
    ) -> None:
        upload = uploads.receive([npz(16, 18)]).id
        path = client.post(JOBS, {"recipe": CONV, "data": f"upload:{upload}"}).headers["location"]
        assert client.request("DELETE", f"/training/data/{upload}").status_code == 409
        client.request("DELETE", path)
        assert client.request("DELETE", f"/training/data/{upload}").status_code == 204
        resumed = client.post(f"{path}/resume")
        assert (resumed.status_code, resumed.json()["errors"][0]["field"]) == (422, "data.upload")
        assert client.get(path).json()["state"] == "cancelled"


class TestEncoders:
    """Recipes of the family `inference`."""

    def test_encoder_is_named_after_its_parent(self, client: Client) -> None:
        answer = client.post(JOBS, {"recipe": "inference", "overrides": {"model.parent": "gan@1"}})
        assert (answer.status_code, answer.json()["name"]) == (202, "gan")

    @pytest.mark.parametrize("parent", ["nobody", "gan@9", "ae", "cvae"])
    def test_parent_that_cannot_be_one_is_refused(self, client: Client, parent: str) -> None:
        error = refused(client, {"recipe": "inference", "overrides": {"model.parent": parent}})[
            "overrides.model.parent"
        ]
        assert "gan" in error["allowed"]
        assert not {"ae", "cvae"} & set(error["allowed"])

    def test_encoder_has_the_name_and_data_of_its_parent(self, client: Client) -> None:
        order = {"recipe": "inference", "overrides": {"model.parent": "gan"}, "name": "other", "data": "mnist"}
        assert set(refused(client, order)) == {"name", "data"}


def test_recipes_of_a_folder_that_is_not_there_are_none(store: Path, tmp_path: Path) -> None:
    with serving(store, lanes=1, recipes=tmp_path / "none", database=sqlite(tmp_path)) as client:
        assert client.get("/training/recipes").json() == {"recipes": []}
        assert list(refused(client, FASHION)) == ["recipe"]
        assert client.post(JOBS, {"recipe": SMALL}).status_code == 202


def npz(height: int, width: int) -> bytes:
    """A few images."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(height * width).integers(0, 256, (40, height, width), np.uint8)
    np.savez(buffer, images=pixels)
    return buffer.getvalue()
