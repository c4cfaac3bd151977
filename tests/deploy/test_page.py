"""docs/observability.md names what there is, and nothing else."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from service.access import AccessLog
from service.settings import Settings
from service.trace import Trace
from tests.deploy.conftest import Exported
from tests.deploy.queries import DEPLOY, rules

ROOT = DEPLOY.parent
PAGE = (ROOT / "docs" / "observability.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)$\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def names_in_first_column(section: str) -> set[str]:
    """What stands in backquotes there."""
    cells = re.findall(r"^\| (`.+?) \|", SECTIONS[section], re.M)
    return {name for cell in cells for name in re.findall(r"`(.+?)`", cell)}


def test_metrics_are_those_that_are_exported_with_type_and_labels(exported: Exported) -> None:
    rows = re.findall(r"^\| `(genserve_\w+)` \| (\w+) \| ?(.*?) ?\| (?=\S)", SECTIONS["Metrics"], re.M)
    listed = {name: (kind, {label for label in labels.split(", ") if label}) for name, kind, labels in rows}
    assert {name: kind for name, (kind, _) in listed.items()} == exported.kinds
    for name, (kind, labels) in listed.items():
        assert labels == exported.labels[f"{name}_sum" if kind == "histogram" else name], name


def test_every_alert_has_its_runbook() -> None:
    runbooks = re.findall(r"^### (\w+)$", SECTIONS["Alerts"], re.M)
    assert runbooks == [rule["alert"] for rule in rules()]


def test_log_fields_are_those_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def answered() -> None:
        log = AccessLog(Settings())
        log.add(Trace("id"), "POST", 200, 0.1)
        log.flush()

    asyncio.run(answered())
    fields = names_in_first_column("Log")
    assert fields == json.loads(capsys.readouterr().err).keys()


def test_server_timing_is_as_the_header_is() -> None:
    trace = Trace("id")
    trace.about("tiny", 1)
    example = re.search(r"^server-timing: (.+)$", SECTIONS["Server-Timing"], re.M)
    assert example is not None
    assert re.findall(r"(\w+);dur", example[1]) == re.findall(r"(\w+);dur", trace.server_timing().decode())


@pytest.mark.parametrize("folder", ["grafana/provisioning", "grafana/dashboards"])
def test_folders_to_mount_are_there(folder: str) -> None:
    assert f"`deploy/{folder}`" in SECTIONS["Dashboard"]
    assert any(Path(DEPLOY / folder).rglob("*.*"))


def test_grafana_looks_for_dashboards_where_the_page_mounts_them() -> None:
    mounted = re.search(r"^\| `deploy/grafana/dashboards` \| `(.+)` \|$", SECTIONS["Dashboard"], re.M)
    assert mounted is not None
    assert f"path: {mounted[1]} " in (DEPLOY / "grafana/provisioning/dashboards/genserve.yml").read_text()
