"""Writes the pages of docs/reference that follow from the code: `make docs`.

commands.md from the commands, settings.md from `service.config`, metrics.md from the calls that define metrics,
python.md from the docstrings of the package `striate`. tests/docs holds these pages to what this writes.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

import striate
from service.config import Config, accepted, variable
from striate.cli import SECTIONS, main

REFERENCE = Path(__file__).parent / "reference"
ROOT = REFERENCE.parents[1]
HEAD = "<!-- Written by `make docs` from the code. Do not edit. -->\n\n"
TOPICS = {  # of the settings of the service
    "Address and models": (
        *("exports", "cache", "store_poll_s", "retain_versions", "retain_days", "retain_bytes", "host", "port"),
        *("default_model", "required_models"),
    ),
    "Computation": (
        *("engine", "precision", "devices", "replicas", "memory_bytes", "unload_idle_s", "when_unloaded"),
        *("workers", "max_batch_size", "load_timeout_s", "hang_timeout_s"),
    ),
    "Limits": (
        *("queue_capacity", "queue_bytes", "deadline_s", "max_body_bytes", "max_images", "max_pixels"),
        *("read_timeout_s", "drain_delay_s", "stop_timeout_s"),
    ),
    "Access": (
        *("predict_keys", "feedback_keys", "admin_keys", "keys_file", "allow_anonymous", "cors_origins"),
        *("canary_header", "examples"),
    ),
    "Feedback": (
        *("feedback", "feedback_open", "feedback_bytes", "feedback_new_labels", "recent_bytes", "keep", "keep_below"),
        "keep_days",
    ),
    "Logs and traces": ("log_level", "log_format", "otlp_endpoint"),
}
METRICS = {  # where metrics are defined: what the page says of them
    "service/telemetry/metrics.py": "Counted by the service",
    "service/telemetry/exposition.py": "State of the service",
    "training/retrain/prometheus.py": "Retraining jobs, in the file that the field `textfile` of the job names",
}
KINDS = {
    "Counter": "counter",
    "Histogram": "histogram",
    **dict.fromkeys(("Gauge", "GaugeMetricFamily", "gauge"), "gauge"),
}
EXAMPLE = (
    *("import striate", "", 'classifier = striate.load("exports/pets/1")'),
    'print(classifier.classify("cat.png").label)',
)
NAMED_LABELS = {"VERSION": ["model", "version"]}


def commands() -> str:
    lines = ["# Commands", "", "`striate COMMAND --help` prints the same for one command."]
    root = click.Context(main, info_name="striate", **main.context_settings)
    for section, names in SECTIONS.items():
        lines += ["", f"## {section}"]
        for name in names:
            command = main.get_command(root, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=root, **command.context_settings)
            lines += ["", f"### striate {name}", "", *described(command, context)]
    return "\n".join(lines) + "\n"


def described(command: click.Command, context: click.Context) -> Iterator[str]:
    """Usage, meaning and flags of a command."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from ("```text", usage, "```", "", paragraphs(inspect.cleandoc(command.help or "")))
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            flag, meaning = record
            row = f"| `{flag.replace('|', ' or ')}` | {cell(meaning)} |"
            groups.setdefault(getattr(parameter, "heading", "Options"), []).append(row)
    for heading, rows in groups.items():
        yield from ("", f"| {heading} | Meaning |", "|---|---|", *rows)
    if command.epilog and "\b" not in command.epilog:
        yield from ("", paragraphs(command.epilog))


def paragraphs(text: str) -> str:
    """With a line for each paragraph, as Markdown has it."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def settings() -> str:
    lines = [
        "# Settings of the service",
        "",
        "The service reads its settings from environment variables when it starts, for example",
        "`SERVICE_PORT=9000 striate serve`. It ends with an error if a value is not accepted or if a name is misspelt.",
        "`striate serve --host` and `--port` come before the variables. `striate serve --help` prints this list.",
        "",
        "`SERVICE_CONFIG`, or `striate serve --config`, names a TOML file of settings. Its keys are the names below in",
        "small letters and without `SERVICE_`, such as `port = 9000`; a list may be written as one, and yes or no as",
        "`true` or `false`. A variable comes before the file. API keys can be in files of their own, one key on each",
        "line: `SERVICE_PREDICT_KEYS_FILE`, `SERVICE_FEEDBACK_KEYS_FILE`, `SERVICE_ADMIN_KEYS_FILE` name these files.",
        "`striate check` reads all of that and says what the service would do. It ends with 0, or with 2 if the",
        "service would not do as it is asked.",
        "",
        "Times are in seconds, sizes in bytes.",
    ]
    found = {field.name: field for field in dataclasses.fields(Config)}
    for topic, names in TOPICS.items():
        lines += ["", f"## {topic}", "", "| Variable | Default | Accepted | Meaning |", "|---|---|---|---|"]
        for field in (found.pop(name) for name in names):
            default = "" if field.default == "" else f"`{field.default}`"
            lines.append(f"| `{variable(field)}` | {default} | {accepted(field)} | {cell(field.metadata['meaning'])} |")
    assert not found, f"settings without a topic: {list(found)}"
    return "\n".join(lines) + "\n"


class Metric(NamedTuple):
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def metrics() -> str:
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` answers in the text format of Prometheus. Counters and histograms are added up over all",
        "processes of the service. A histogram has the series `_bucket`, `_sum` and `_count`. Times are in seconds.",
    ]
    for path, title in METRICS.items():
        lines += ["", f"## {title}", "", "| Name | Type | Labels | Meaning |", "|---|---|---|---|"]
        for metric in sorted(metrics_of(path)):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {cell(metric.meaning)} |")
    return "\n".join(lines) + "\n"


def metrics_of(path: str) -> set[Metric]:
    """Those that a module defines, by the calls that define them."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS):
            continue
        name, meaning, *more = node.args
        if isinstance(name, ast.Constant) and str(name.value).startswith("striate_"):
            assert isinstance(meaning, ast.Constant)
            kind = KINDS[node.func.id]
            labels = [label for part in [*more, *node.keywords] for label in labels_in(part)]
            if node.func.id == "gauge":
                labels = ["model", *(keyword.arg for keyword in node.keywords if keyword.arg)]
            named = f"{name.value}_total" if kind == "counter" else str(name.value)
            found.add(Metric(named, kind, tuple(dict.fromkeys(labels)), str(meaning.value)))
    return found


def labels_in(node: ast.AST) -> list[str]:
    """["model", "version", "outcome"] of [*VERSION, "outcome"]."""
    if isinstance(node, ast.keyword):
        return labels_in(node.value) if node.arg in (None, "labels", "labelnames") else []
    if isinstance(node, ast.Name):
        return NAMED_LABELS.get(node.id, [])
    if isinstance(node, ast.Starred):
        return labels_in(node.value)
    if isinstance(node, ast.List):
        return [label for part in node.elts for label in labels_in(part)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def python() -> str:
    lines = [
        "# Python",
        "",
        "Notebooks and programs can use Striate. All names below are in the package `striate`.",
        "",
    ]
    lines += ["```python", *EXAMPLE, "```"]
    for name in sorted(striate.__all__, key=lambda name: (name[0].isupper(), name)):
        value = getattr(striate, name)
        lines += ["", f"## striate.{name}", "", *of_value(name, value)]
        for member, inside in members_of(value):
            lines += ["", f"### {name}.{member}", "", *of_value(member, inside)]
    return "\n".join(lines) + "\n"


def members_of(value: Any) -> Iterator[tuple[str, Any]]:
    if inspect.isclass(value) and not issubclass(value, Exception):
        for name, member in vars(value).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                yield name, member


def of_value(name: str, value: Any) -> Iterator[str]:
    """Signature and docstring, whose sections `Args:` and so on become lists."""
    if inspect.isfunction(value):
        signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(value)))
        yield from ("<!-- not run: a signature -->", "```python", wrapped(f"{name}{signature}"), "```", "")
    text = inspect.getdoc(value) or ""
    assert text, f"{name} has no docstring"
    for part in text.split("\n\n"):
        section = re.match(r"(Args|Attributes|Raises|Returns):\n", part)
        if not section:
            yield from (" ".join(part.split()), "")
            continue
        yield from (f"**{section[1]}**", "")
        entries = inspect.cleandoc(part[section.end() :])
        for entry in re.split(r"\n(?=\S)", entries):
            head, _, meaning = entry.partition(": ")
            yield f"- `{head}`: {' '.join(meaning.split())}"
        yield ""


def wrapped(signature: str, width: int = 100) -> str:
    if len(signature) <= width:
        return signature
    head, _, rest = signature.partition("(")
    inside, _, tail = rest.rpartition(")")
    parts = re.split(r", (?![^\[]*\])", inside)
    return f"{head}(\n" + "".join(f"    {part},\n" for part in parts) + f"){tail}"


PAGES = {"commands.md": commands, "settings.md": settings, "metrics.md": metrics, "python.md": python}

if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(HEAD + page(), encoding="utf-8")
