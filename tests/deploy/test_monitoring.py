"""Alert rules and dashboard: asked of a real Prometheus that reads a real service."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import yaml

from deploy.grafana.dashboard import TARGET, dashboard
from tests.harness import Load, golden_image, running_service, wait_until
from tests.needs import needs
from tests.processes import ROOT, free_port

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
# Nothing has happened that these series count.
WITHOUT_DATA = (
    "striate_errors_total",
    "striate_shadow",
    "striate_store",
    "striate_key",
    "striate_feedback",
    "drift_psi",
)


def alerts() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


@needs("promtool")
def test_the_rules_do_what_their_tests_say() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", RULES.with_name("rules_test.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire_in_a_test_and_has_its_row_in_the_runbook() -> None:
    tests = yaml.safe_load(RULES.with_name("rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == set(alerts())
    runbook = (ROOT / "docs" / "when-wrong" / "runbook.md").read_text()
    assert [name for name in alerts() if f"`{name}`" not in runbook] == []


def test_the_dashboard_is_what_its_program_writes() -> None:
    assert json.loads(TARGET.read_text()) == dashboard()


@pytest.fixture(scope="module")
def ask(digits_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], list[object]]]:
    """Asks a Prometheus that has read a service under load for a while; every second, unlike in operation."""
    folder = tmp_path_factory.mktemp("prometheus")
    with running_service(digits_exports, folder) as service:
        config = yaml.safe_load(RULES.with_name("prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [service.url.removeprefix("http://")]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}/api/v1/query"

        def query(expression: str) -> list[object]:
            answer = requests.get(url, params={"query": expression}, timeout=10).json()
            assert answer["status"] == "success", answer
            found: list[object] = answer["data"]["result"]
            return found

        def has_data() -> bool:
            try:
                return len(query("rate(striate_images_total[10s]) > 0")) > 0
            except requests.RequestException:  # it starts
                return False

        try:
            with Load(service, golden_image(digits_exports), num_clients=1):
                wait_until(has_data, service)
                yield query
        finally:
            process.terminate()
            process.wait(20)


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


@needs("prometheus")
def test_every_query_of_the_dashboard_is_answered_with_data(ask: Callable[[str], list[object]]) -> None:
    empty = []
    for written in queries():
        expression = re.sub(r"\$(job|instance|model)\b", ".*", written).replace("$__rate_interval", "10s")
        if not ask(expression) and not any(name in written for name in WITHOUT_DATA):
            empty.append(written)
    assert empty == []


@needs("prometheus")
def test_prometheus_reads_the_service_and_no_alert_is_raised(ask: Callable[[str], list[object]]) -> None:
    assert ask('up{job="striate"} == 1')
    deadline = time.monotonic() + 60
    while not ask("striate:queue_wait_seconds:p95_5m"):  # rules are evaluated every second
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask('ALERTS{alertstate="firing"}') == []
