"""Imports flow one way, training -> models <- service, and the CPU service starts without TensorFlow."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, python

HEAVY = {"tensorflow", "keras", "jax", "torch"}
WITHOUT_KERAS = [
    *(
        "models",
        "models.bundle.preprocessing",
        "models.bundle.manifest",
        "models.files.durable",
        "models.networks.architecture",
        "models.networks.cli",
    ),
    "training.cli.app",
]
MAY_IMPORT_TENSORFLOW = {"service.engine.loading"}  # the TensorFlow engine, inside the functions that need it


def modules(package: str) -> list[str]:
    names = [path.relative_to(ROOT).with_suffix("").as_posix() for path in sorted((ROOT / package).rglob("*.py"))]
    return [name.removesuffix("/__init__").replace("/", ".") for name in names]


def imports(path: Path) -> Iterator[str]:
    """First part of the name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield (node.module or "").split(".")[0]


def imports_of(package: str) -> set[str]:
    return {name for path in (ROOT / package).rglob("*.py") for name in imports(path)}


def loaded_by(module: str) -> set[str]:
    """Top-level modules that a fresh process has after importing one."""
    code = f"import {module}, json, sys; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    return set(json.loads(python("-c", code).splitlines()[-1]))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("models", {"training", "service", "tests"}),
        ("training", {"service", "tests"}),
        ("service", {"training", "tests"}),
    ],
)
def test_imports_flow_one_way(package: str, forbidden: set[str]) -> None:
    assert not imports_of(package) & forbidden


@pytest.mark.parametrize("module", WITHOUT_KERAS)
def test_what_both_sides_share_loads_neither_keras_nor_tensorflow(module: str) -> None:
    assert not loaded_by(module) & HEAVY


def test_the_service_names_tensorflow_in_its_one_backend_only() -> None:
    naming = {module for module in modules("service") if HEAVY & set(imports(source(module)))}
    assert naming <= MAY_IMPORT_TENSORFLOW


def test_no_part_of_the_service_loads_keras_or_tensorflow() -> None:
    """All of it in one process, but for files that only gunicorn or a person can run."""
    runnable = {"service.__main__", "service.worker.gunicorn_conf", "service.worker.wsgi"}
    assert not loaded_by(", ".join(set(modules("service")) - runnable)) & HEAVY


def source(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
