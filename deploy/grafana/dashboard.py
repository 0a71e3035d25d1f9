"""Writes Striate's dashboard for Grafana: python deploy/grafana/dashboard.py. A test holds the file to this.

A row for each question that an operator asks, in the order in which a fault is looked for: does it answer, how fast,
what is full, which versions answer, are the images as they were, what do users correct.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).parent / "dashboards" / "striate.json"
WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 24, 8, 7  # of Grafana's grid
SELECTED = 'job=~"$job",instance=~"$instance"'
MODEL = f'{SELECTED},model=~"$model"'
RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    title: str
    unit: str
    queries: dict[str, str]  # by their legends
    kind: str = "timeseries"


def quantile(share: float, metric: str) -> str:
    return f"histogram_quantile({share}, sum by (model, le) (rate({metric}_bucket{{{MODEL}}}{RATE})))"


ROWS = {
    "Does it answer?": [
        Panel(
            "Requests", "reqps", {"{{status}}": f"sum by (status) (rate(striate_requests_total{{{SELECTED}}}{RATE}))"}
        ),
        Panel(
            "Share of requests that fail",
            "percentunit",
            {
                "failed": f'(sum(rate(striate_requests_total{{{SELECTED},status=~"5.."}}{RATE})) or vector(0))'
                f" / sum(rate(striate_requests_total{{{SELECTED}}}{RATE}))"
            },
        ),
        Panel("Errors", "reqps", {"{{code}}": f"sum by (code) (rate(striate_errors_total{{{SELECTED}}}{RATE}))"}),
    ],
    "How fast?": [
        Panel(
            "Time of a request",
            "s",
            {
                "{{model}} median": quantile(0.5, "striate_model_request_seconds"),
                "{{model}} p95": quantile(0.95, "striate_model_request_seconds"),
                "{{model}} p99": quantile(0.99, "striate_model_request_seconds"),
            },
        ),
        Panel(
            "Where the time goes (p95 of each part)",
            "s",
            {
                "decode": quantile(0.95, "striate_decode_seconds"),
                "queue": quantile(0.95, "striate_queue_wait_seconds"),
                "inference of a batch": quantile(0.95, "striate_inference_seconds"),
            },
        ),
        Panel("Images", "short", {"{{model}}": f"sum by (model) (rate(striate_images_total{{{MODEL}}}{RATE}))"}),
    ],
    "What is full?": [
        Panel("Waiting images", "short", {"{{model}}": f"sum by (model) (striate_waiting_images{{{MODEL}}})"}),
        Panel(
            "Images in a batch",
            "short",
            {
                "{{model}}": f"sum by (model) (rate(striate_batch_size_sum{{{MODEL}}}{RATE}))"
                f" / sum by (model) (rate(striate_batch_size_count{{{MODEL}}}{RATE}))"
            },
        ),
        Panel(
            "Memory of an engine",
            "bytes",
            {"{{model}} {{version}}": f"max by (model, version) (striate_engine_memory_bytes{{{MODEL}}})"},
        ),
    ],
    "Which versions answer?": [
        Panel("Live version", "none", {"{{model}}": f"max by (model) (striate_live_version{{{MODEL}}})"}),
        Panel(
            "States of versions",
            "none",
            {"{{model}} {{version}} {{state}}": f"sum by (model, version, state) (striate_version_state{{{MODEL}}})"},
        ),
        Panel(
            "Restarts of engines",
            "none",
            {"{{model}} {{version}}": f"sum by (model, version) (striate_engine_restarts{{{MODEL}}})"},
        ),
        Panel(
            "Images sent to a shadow version",
            "short",
            {"{{model}} {{outcome}}": f"sum by (model, outcome) (rate(striate_shadow_images_total{{{MODEL}}}{RATE}))"},
        ),
        Panel(
            "Share of the canary", "percentunit", {"{{model}}": f"max by (model) (striate_canary_fraction{{{MODEL}}})"}
        ),
        Panel(
            "Age of what is known of the object store",
            "s",
            {"{{instance}}": f"time() - striate_store_read_timestamp_seconds{{{SELECTED}}}"},
        ),
    ],
    "Are the images as they were?": [
        Panel(
            "Drift (population stability index)",
            "none",
            {"{{model}} {{statistic}}": f"max by (model, statistic) (striate_drift_psi{{{MODEL}}})"},
        ),
        Panel("Median of the confidence", "percentunit", {"{{model}}": quantile(0.5, "striate_confidence")}),
        Panel(
            "Share of images unlike the training images",
            "percentunit",
            {
                "{{model}}": f'1 - sum by (model) (rate(striate_out_of_distribution_bucket{{{MODEL},le="0.95"}}{RATE}))'
                f" / sum by (model) (rate(striate_out_of_distribution_count{{{MODEL}}}{RATE}))"
            },
        ),
    ],
    "Who asks, and what do they correct?": [
        Panel(
            "Images by API key",
            "short",
            {"{{key}}": f"sum by (key) (rate(striate_key_images_total{{{SELECTED}}}{RATE}))"},
        ),
        Panel(
            "Labels received as feedback",
            "short",
            {"{{model}} {{outcome}}": f"sum by (model, outcome) (rate(striate_feedback_total{{{MODEL}}}{RATE}))"},
        ),
        Panel(
            "Use of the feedback folder",
            "percentunit",
            {
                "{{model}}": f"max by (model) (striate_feedback_bytes{{{MODEL}}}"
                f" / striate_feedback_limit_bytes{{{MODEL}}})"
            },
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for heading, row in ROWS.items():
        panels.append(
            {"type": "row", "title": heading, "collapsed": False, "gridPos": grid(0, y, WIDTH, 1), "panels": []}
        )
        for i, panel in enumerate(row):
            x, line = i * PANEL_WIDTH % WIDTH, i * PANEL_WIDTH // WIDTH
            place = grid(x, y + 1 + line * PANEL_HEIGHT, PANEL_WIDTH, PANEL_HEIGHT)
            panels.append({**drawn(panel), "gridPos": place})
        y += 1 + -(-len(row) * PANEL_WIDTH // WIDTH) * PANEL_HEIGHT
    for number, each in enumerate(panels, 1):
        each["id"] = number
    return {
        "uid": "striate",
        "title": "Striate",
        "tags": ["striate"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                choice("job", "label_values(striate_live_version, job)"),
                choice("instance", 'label_values(striate_live_version{job=~"$job"}, instance)'),
                choice("model", 'label_values(striate_live_version{job=~"$job"}, model)'),
            ]
        },
        "panels": panels,
    }


def drawn(panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": source, "expr": query, "legendFormat": legend}
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def choice(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
