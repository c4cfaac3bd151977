"""What a service that has answered, refused and failed really exports."""

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from service.engine.observer import Source
from tests.service.support import serving
from tests.support.bundles import publish


@dataclass(frozen=True)
class Exported:
    """The text of /metrics, and what is in it.

    Attributes:
        kinds: Name of each metric → counter, gauge or histogram.
        labels: Name of each series → names of its labels.
        values: Name of each label → the values it has.
    """

    text: str
    kinds: dict[str, str]
    labels: dict[str, set[str]]
    values: dict[str, set[str]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("store")
    source = Source("tiny", publish(root, "tiny").manifest.version, "decode")
    with serving(root, lanes=1, default_model="tiny") as client:
        for path in ("/models", "/models/tiny", "/health/live", "/health/ready"):
            assert client.get(path).status_code == 200
        assert client.post("/sample", {"n": 3}).status_code == 200
        assert client.post("/sample", {"model": "nobody"}).status_code == 404
        assert client.post("/sample", {"n": 2}, headers={"x-timeout-ms": "0.001"}).status_code == 504
        context = client.app.state.context
        context.leaving = True  # as SIGTERM says
        assert client.get("/health/ready").status_code == 503
        metrics = context.metrics
        metrics.rebuilt(source, "hung")  # what the engine says when a run hangs
        metrics.shrunk(source, 8)  # and when memory runs out
        text = client.get("/metrics").text
    return _read(text)


def _read(text: str) -> Exported:
    kinds: dict[str, str] = {}
    labels: dict[str, set[str]] = {}
    values: dict[str, set[str]] = {}
    for family in parse(text):
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue  # when a series began: nobody asks for it
            name = f"{family.name}_total" if family.type == "counter" else family.name
            kinds[name] = family.type
            labels.setdefault(sample.name, set()).update(sample.labels)
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
    return Exported(text, kinds, labels, values)
