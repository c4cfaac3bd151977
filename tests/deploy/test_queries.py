"""Dashboards and alert rules ask for what the service exports, and for nothing else."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest

from service.engine.observer import Ending
from service.metrics import STAGES
from tests.deploy.conftest import Exported
from tests.deploy.queries import DASHBOARDS, TARGET_LABELS, Query, panels, queries, rules

QUERIES = queries()
VALUES = {"ending": set(get_args(Ending)), "stage": set(STAGES)}  # of which a test's traffic may not show all
IDS = [query.place for query in QUERIES]
PANELS = [panel for _, panel in panels()]


def problems(query: Query, exported: Exported) -> list[str]:
    """What a query asks for that there is not."""
    labels = exported.labels | {"up": set()}
    unknown = sorted(query.metrics - labels.keys())
    if unknown or not query.metrics:
        return [f"no metric {name}" for name in unknown] or ["no metric at all"]
    found = [f"{name} has no {key}" for name, key, _ in query.matchers if key not in labels[name] | TARGET_LABELS]
    common = set.intersection(*(labels[name] for name in query.metrics)) | TARGET_LABELS
    found += [f"not all have {key}" for keys in query.groupings for key in sorted(keys - common)]
    left = set.intersection(*query.groupings) - {"le"} if query.groupings else common
    found += [f"{key} is shown, but no label of the result" for key in sorted(query.labels_shown - left)]
    for name, key, pattern in query.matchers:
        possible = VALUES.get(key, exported.values.get(key, set()))
        if key in labels[name] and "$" not in pattern and not any(re.fullmatch(pattern, one) for one in possible):
            found.append(f"no {key} is {pattern!r}")
    return found


@pytest.mark.parametrize("query", QUERIES, ids=IDS)
def test_every_metric_label_and_value_is_exported(query: Query, exported: Exported) -> None:
    assert problems(query, exported) == []


@pytest.mark.parametrize(
    ("text", "shown", "problem"),
    [
        ("sum(rate(genserve_request_total[5m]))", "", "no metric genserve_request_total"),
        ("sum(time())", "", "no metric at all"),
        ('genserve_ready{model="a"}', "", "genserve_ready has no model"),
        ("sum by (graph) (genserve_images_total)", "", "not all have graph"),
        ("sum by (le) (genserve_batch_images_sum)", "", "not all have le"),
        ("sum by (model) (genserve_images_total)", "{{version}}", "version is shown, but no label of the result"),
        ("genserve_ready == 0", "{{ $labels.model }}", "model is shown, but no label of the result"),
        ('genserve_engine_requests_total{ending="overload"}', "", "no ending is 'overload'"),
        ('genserve_requests_total{route=~"/probes/.*"}', "", "no route is '/probes/.*'"),
    ],
)
def test_this_test_sees_what_is_wrong(exported: Exported, text: str, shown: str, problem: str) -> None:
    assert problems(Query("here", text, shown), exported) == [problem]


def test_every_metric_is_on_a_dashboard(exported: Exported) -> None:
    series = {name for query in QUERIES if ".json" in query.place for name in query.metrics}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series}
    assert shown == exported.kinds.keys()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboard_can_be_provisioned(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert board["schemaVersion"] >= 39  # Grafana 11
    assert "id" not in board  # Grafana's own, of one installation
    variables = [variable["name"] for variable in board["templating"]["list"]]
    assert variables == ["datasource", "job", "instance", "model"]
    used = set(re.findall(r"\$\{?(\w+)", path.read_text())) - {"__rate_interval", "__all"}
    assert used == set(variables)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, object]) -> None:
    assert panel["description"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    defaults = panel["fieldConfig"]["defaults"]  # type: ignore[index]
    assert "unit" in defaults or "mappings" in defaults or panel["type"] == "table"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_lie_within_24_columns_and_side_by_side(path: Path) -> None:
    places = [panel["gridPos"] for panel in json.loads(path.read_text())["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, (a, b)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_rule_says_how_bad_it_is_and_where_its_runbook_is(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/observability.md#{str(rule['alert']).lower()}"
