"""Imports flow one way: between the packages, between their rooms, and never to TensorFlow from the CPU service."""

import ast
import graphlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.processes import ROOT, python

SIDES = ("models", "training", "service")
PACKAGES = (*SIDES, "striate")
HEAVY = {"tensorflow", "keras", "jax", "torch"}
WITHOUT_KERAS = [
    "models",
    "models.bundle.manifest",
    "models.store.publish",
    "models.networks.cli",
    "training.cli.app",
    "striate.cli",
    "striate",
]
MOST_MODULES, LONGEST_FILE, LONGEST_FUNCTION = 12, 350, 60
MAY_IMPORT_TENSORFLOW = {"service.engine.tensorflow"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the packages, by its dotted name."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return {
        name.removesuffix(".__init__"): ast.parse(path.read_text(encoding="utf-8"))
        for name, path in zip(names, paths, strict=True)
    }


def imports(module: str) -> Iterator[str]:
    """Dotted names of all that a module imports, wherever in it: of ours the modules, of others what stands there."""
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            source = str(node.module)
            for alias in node.names:
                yield f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules() else source


def rooms() -> dict[str, list[str]]:
    """The rooms of each package in the order that docs/understand/architecture.md names."""
    text = (ROOT / "docs" / "understand" / "architecture.md").read_text(encoding="utf-8")
    return {package: re.findall(rf"^    {package}: +(.+)$", text, re.MULTILINE)[0].split() for package in PACKAGES}


def loaded_by(module: str) -> set[str]:
    """Top-level modules that a fresh process has after importing one."""
    code = f"import {module}, json, sys; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    return set(json.loads(python("-c", code).splitlines()[-1]))


@pytest.mark.parametrize("package", SIDES)
def test_training_and_service_import_models_and_never_each_other(package: str) -> None:
    allowed = {package, "models"}
    others = {*PACKAGES, "tests", "benchmarks"} - allowed
    found = {name.split(".")[0] for module in modules() if module.split(".")[0] == package for name in imports(module)}
    assert not found & others


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_rooms_that_stand_before_it(package: str) -> None:
    order = rooms()[package]
    inside = {name: name.split(".")[1] for name in modules() if name.startswith(f"{package}.")}
    entries = {"__main__"}
    assert set(inside.values()) - entries == set(order), "docs/understand/architecture.md lists the rooms"
    wrong = [
        f"{module} imports {name}"
        for module, room in inside.items()
        if room not in entries
        for name in imports(module)
        if name in inside and order.index(inside[name]) > order.index(room)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {name for name in imports(module) if name in modules()} - {module} for module in modules()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", WITHOUT_KERAS)
def test_what_both_sides_share_loads_neither_keras_nor_tensorflow(module: str) -> None:
    assert not loaded_by(module) & HEAVY


def test_the_service_names_tensorflow_in_its_one_backend_only() -> None:
    service = [module for module in modules() if module.split(".")[0] == "service"]
    naming = {module for module in service if HEAVY & {name.split(".")[0] for name in imports(module)}}
    assert naming <= MAY_IMPORT_TENSORFLOW


def test_no_part_of_the_service_loads_keras_or_tensorflow() -> None:
    """All of it in one process, but for files that only gunicorn or a person can run."""
    runnable = {"service.worker.gunicorn_conf", "service.worker.wsgi"}
    parts = [name for name in modules() if name.split(".")[0] == "service" and not name.endswith("__main__")]
    assert not loaded_by(", ".join(set(parts) - runnable)) & HEAVY


def test_a_room_has_at_most_twelve_modules() -> None:
    """But for the networks, of which each paper has a file."""
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    counts = {folder: len([path for path in folder.glob("*.py") if path.stem != "__init__"]) for folder in folders}
    assert {folder for folder, count in counts.items() if count > MOST_MODULES} <= {ROOT / "models" / "networks"}


def test_no_file_and_no_function_is_long() -> None:
    for name, tree in modules().items():
        lines = max((node.end_lineno for node in tree.body if node.end_lineno), default=0)
        assert lines <= LONGEST_FILE, f"{name} has {lines} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                assert lines <= LONGEST_FUNCTION, f"{name}.{node.name} has {lines} lines"


def test_every_package_says_what_it_is_for() -> None:
    packages = [path.parent for package in PACKAGES for path in Path(ROOT / package).rglob("__init__.py")]
    silent = [path for path in packages if not ast.get_docstring(ast.parse((path / "__init__.py").read_text()))]
    assert silent == []
