"""GET /models, /health and /metrics."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from bundle.priors import Mixture
from bundle.store import Store
from service.app import create_app
from service.metrics import STAGES
from service.settings import Settings
from tests.service.support import DAMAGED, Client, serving, until
from tests.support.bundles import publish


def counted(client: Client, name: str, **labels: str) -> float:
    samples = [sample for family in parse(client.get("/metrics").text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_all_models_are_listed_with_what_they_can_do(client: Client) -> None:
    answer = client.get("/models").json()
    found = {(model["name"], model["version"]): model for model in answer["models"]}
    assert answer["default"] == "fashion-vae"
    assert [name for name, _ in found] == sorted(name for name, _ in found)
    first = found["fashion-vae", 1]
    assert first["aliases"] == ["first"]
    assert first["graphs"] == ["decode", "encode"]
    assert first["image"] == {"channels": 1, "height": 16, "width": 16}
    assert first["prior"] == {"kind": "normal", "dim": 8}
    assert first["latent_dim"] == 8
    assert first["provider"] == "CPUExecutionProvider"
    assert found["cvae", 1]["labels"] == ["cat", "dog", "owl"]
    assert found["ae", 1]["prior"] is None
    assert found["gan", 1]["graphs"] == ["decode"]


def test_refused_bundle_is_listed_with_the_reason(client: Client) -> None:
    problems = client.get("/models").json()["problems"]
    assert list(problems) == [f"{DAMAGED}@1"]
    assert "decode.onnx" in problems[f"{DAMAGED}@1"]


def test_one_model_says_how_it_was_made(client: Client) -> None:
    digest = Store(client.app.state.context.settings.store).open("gan").digest
    for ref in ("gan", "gan@1"):
        model = client.get(f"/models/{ref}").json()
        assert model["digest"] == digest
        assert model["training"]["recipe"] == {"seed": 0}
        assert model["data"]["licence"] == "CC0-1.0"
        assert model["interface"]["decode"]["inputs"][0]["name"] == "z"


def test_fitted_mixture_is_summed_up(tmp_path: Path) -> None:
    eye = [[1.0, 0.0], [0.0, 1.0]]
    prior = Mixture(weights=[0.5, 0.5], means=[[0.0, 0.0], [1.0, 1.0]], scale_tril=[eye, eye])
    publish(tmp_path, "mixed", prior=prior, latent_dim=2)
    with serving(tmp_path) as client:
        assert client.get("/models").json()["models"][0]["prior"] == {"kind": "mixture", "components": 2, "dim": 2}
        assert client.post("/sample", {"model": "mixed", "n": 3}).status_code == 200


def test_service_without_its_default_model_says_what_there_is(tmp_path: Path) -> None:
    publish(tmp_path, "only")
    with serving(tmp_path) as client:
        assert client.post("/sample").json()["code"] == "unknown_model"
        assert client.post("/sample", {"model": "only"}).status_code == 200
        assert client.get("/openapi.json").status_code == 200
    with serving(tmp_path, default_model=None) as client:
        assert client.post("/sample").json()["code"] == "invalid_request"
        assert client.get("/models").json()["default"] is None


def test_live_and_ready_are_200_while_all_is_well(client: Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready").json()
    assert (ready["status"], ready["models"]) == ("ready", 6)
    assert list(ready["problems"]) == [f"{DAMAGED}@1"]


def test_not_ready_while_models_are_loaded_but_live(store: Path) -> None:
    with Client(create_app(Settings(store=store))).lifespan(wait=False) as client:
        context = client.app.state.context
        opened, context.opened = context.opened, None  # as before the first of them is there
        refused = [client.get("/health/ready"), client.post("/sample"), client.get("/models")]
        assert client.get("/health/live").status_code == 200
        assert client.get("/metrics").status_code == 200
        context.opened = opened
    for response in refused:
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert response.headers["retry-after"] == "1"


def test_store_that_cannot_be_opened_is_told_by_readiness(tmp_path: Path) -> None:
    with Client(create_app(Settings(store=tmp_path / "nowhere"))).lifespan(wait=False) as client:
        until(client.app.state.context.opened.done)
        response = client.get("/health/ready")
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert "nowhere" in response.json()["detail"]
        assert client.post("/sample").status_code == 503


def test_not_ready_while_draining(store: Path) -> None:
    with serving(store) as client:
        assert client.get("/health/ready").status_code == 200
        client.app.state.context.draining = True
        assert client.get("/health/ready").status_code == 503
        assert client.post("/sample").json()["code"] == "stopping"
        assert client.get("/health/live").status_code == 200


def test_store_without_models_starts_and_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        response = client.get("/health/ready")
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert client.get("/models").json()["models"] == []


def test_requests_are_counted_by_route_method_and_status(client: Client) -> None:
    labels = {"route": "/sample", "method": "POST"}
    names = [
        ("genserve_requests_total", {"status": "200"}),
        ("genserve_requests_total", {"status": "422"}),
        ("genserve_request_seconds_count", {}),
    ]
    before = [counted(client, name, **labels, **more) for name, more in names]
    client.post("/sample", {"n": 3})
    client.post("/sample", {"n": 0})
    after = [counted(client, name, **labels, **more) for name, more in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 2]


def test_unknown_paths_and_methods_make_no_new_series(client: Client) -> None:
    for i in range(3):
        client.get(f"/nothing/{i}")
        client.request(f"ODD{i}", "/sample")
    families = [s for f in parse(client.get("/metrics").text) for s in f.samples if s.name == "genserve_requests_total"]
    assert {s.labels["route"] for s in families if "nothing" in s.labels["route"]} == set()
    assert {s.labels["method"] for s in families} <= {"GET", "POST", "DELETE", "other"}


def test_images_are_counted_by_model(client: Client) -> None:
    before = counted(client, "genserve_images_total", model="gan")
    client.post("/sample", {"model": "gan", "n": 5})
    assert counted(client, "genserve_images_total", model="gan") - before == 5


def test_engine_tells_of_batches_queue_and_endings(client: Client) -> None:
    client.post("/sample", {"model": "gan", "n": 5})
    for name in ("genserve_batch_images_sum", "genserve_run_seconds_count"):
        assert counted(client, name, model="gan", graph="decode") > 0
    for stage in STAGES:
        assert counted(client, "genserve_stage_seconds_sum", model="gan", stage=stage) > 0
    assert counted(client, "genserve_engine_requests_total", model="gan", ending="ok") > 0
    assert counted(client, "genserve_queue_images") == 0
    assert counted(client, "genserve_lanes") == 1
    assert counted(client, "genserve_requests_in_flight") == 1  # the one that asks


def test_two_applications_do_not_share_counters(store: Path, client: Client) -> None:
    client.post("/sample")
    with serving(store) as other:
        assert counted(other, "genserve_images_total") == 0


def test_root_leads_to_the_documentation(client: Client) -> None:
    response = client.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/docs")
    assert client.get("/docs").status_code == 200


def test_documentation_page_asks_for_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/docs").text
    assert "://" not in page
    found = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page)
    assert {path.rpartition(".")[2] for path in found} == {"js", "css", "png", "json"}
    for path in found:
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/models", "/metrics", "/docs"])
def test_head_answers_as_get_does_without_the_body(client: Client, path: str) -> None:
    asked, whole = client.request("HEAD", path), client.get(path)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-type"] == whole.headers["content-type"]
    assert counted(client, "genserve_requests_total", method="HEAD", route=path) > 0


def test_head_of_a_service_that_is_not_ready_is_503_without_body(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        asked = client.request("HEAD", "/health/ready")
        assert (asked.status_code, asked.content) == (503, b"")
