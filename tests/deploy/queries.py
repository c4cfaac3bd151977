"""What dashboards and alert rules ask Prometheus for, as far as names and labels go."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted(DEPLOY.glob("grafana/dashboards/*.json"))
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
TARGET_LABELS = {"job", "instance"}  # Prometheus adds them to all that it scrapes

_SELECTOR = re.compile(r"\b(genserve_\w+|up)\b\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z_]\w*)\s*\}\}")


@dataclass(frozen=True)
class Query:
    """A PromQL expression, where it stands, and the text that shows labels of its result."""

    place: str
    text: str
    shown: str = ""

    @property
    def metrics(self) -> set[str]:
        """Names of the series that it reads."""
        return {name for name, _ in _SELECTOR.findall(self.text)}

    @property
    def matchers(self) -> list[tuple[str, str, str]]:
        """Series, label and value of each matcher."""
        return [
            (name, label, value)
            for name, inside in _SELECTOR.findall(self.text)
            for label, _, value in _MATCHER.findall(inside)
        ]

    @property
    def groupings(self) -> list[set[str]]:
        """Labels of each `by (...)` and its like."""
        return [set(re.findall(r"\w+", labels)) for labels in _GROUPING.findall(self.text)]

    @property
    def labels_shown(self) -> set[str]:
        """Labels in its legend or its annotations."""
        return set(_SHOWN.findall(self.shown))


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel that is no row, and the file that it is from."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield path.name, panel


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[Query]:
    """Every query of every panel, variable and rule."""
    found = [
        Query(f"{file}: {panel['title']}", target["expr"], target["legendFormat"])
        for file, panel in panels()
        for target in panel["targets"]
    ]
    for path in DASHBOARDS:
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                inside = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
                assert inside is not None, variable
                found.append(Query(f"{path.name}: ${variable['name']}", inside[1], f"{{{{{inside[2]}}}}}"))
    return found + [Query(rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in rules()]


def filled_in(query: str) -> str:
    """A dashboard's query as Grafana sends it when everything is chosen."""
    return re.sub(r"\$(job|instance|model)\b", ".*", query.replace("$__rate_interval", "5m"))
