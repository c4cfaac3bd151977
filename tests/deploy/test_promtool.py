"""Prometheus' own tool finds rules, queries and metrics right, and every alert fires when it should."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import Exported
from tests.deploy.queries import DEPLOY, filled_in, queries, rules

PROMETHEUS = DEPLOY / "prometheus"

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing; it is in Debian's package prometheus"
)


def promtool(*arguments: str | Path, given: str = "") -> None:
    """Run it; fails with what it says if it finds fault."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=given, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_valid() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_every_alert_fires_when_it_should_and_not_otherwise() -> None:
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_every_alert_is_tried_both_ways() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = {(case["alertname"], bool(case.get("exp_alerts"))) for test in tests for case in test["alert_rule_test"]}
    assert tried == {(rule["alert"], fires) for rule in rules() for fires in (True, False)}


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("== 0\n        for: 1m", "== 1\n        for: 1m"),
        ("absent(up", "(up"),
        ("genserve_ready == 0", "genserve_ready == 1"),
        ('status!="503",', ""),
        ("> 0.01", "> 0.05"),
        (") > 2.5", ") > 5"),
        ("0.99,", "0.5,"),
        ("> 0.05", "> 0.02"),
        ("deriv(genserve_queue_images[10m]) > 0", "genserve_queue_images > 0"),
        ("> 4 *", "> 0 *"),
        ("or (genserve_runtime_rebuilds_total > 0 unless genserve_runtime_rebuilds_total offset 15m)", ""),
        ("genserve_runtime_rebuilds_total > 0 unless", "genserve_runtime_rebuilds_total unless"),
        ("genserve_batch_halvings_total > 0 unless", "genserve_batch_halvings_total unless"),
        ("increase(genserve_batch_halvings_total[15m]) > 0\n            or", ""),
        ("> 0.95", "> 0.8"),
        ("for: 30m", "for: 1m"),
    ],
)
def test_those_trials_notice_a_rule_that_is_wrong(tmp_path: Path, there: str, instead: str) -> None:
    text = (PROMETHEUS / "alerts.yml").read_text()
    assert there in text
    (tmp_path / "alerts.yml").write_text(text.replace(there, instead, 1))
    shutil.copy(PROMETHEUS / "alerts_test.yml", tmp_path)
    with pytest.raises(AssertionError):
        promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_every_query_of_the_dashboards_is_valid(tmp_path: Path) -> None:
    wanted = [query for query in queries() if ".json" in query.place]
    recorded = [{"record": f"query:{i}", "expr": filled_in(query.text)} for i, query in enumerate(wanted)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": recorded}]}))
    promtool("check", "rules", path)


def test_metrics_are_named_and_described_as_prometheus_has_it(exported: Exported) -> None:
    promtool("check", "metrics", given=exported.text)
