"""Builds the wheel, in which all packages lie under `striate`; pyproject.toml has everything else.

In a clone the packages are called `models`, `training` and `service`, which reads well and would collide with other
people's modules in their site-packages. So `models/bundle/manifest.py` becomes `striate/models/bundle/manifest.py`, and
wherever a module is named, in an import or in a text that is nothing but its name, `striate.` is put before it.
An editable installation (`pip install -e .`) is the clone as it is.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HOME = Path(__file__).resolve().parent
MOVED, TOP = ("models", "service", "training"), "striate"
Place = tuple[int, int]  # line from 0, and bytes before it in that line


class BuildUnderTop(build_py):
    """Copies the packages to where the wheel has them."""

    def run(self) -> None:
        if self.editable_mode:
            return
        for package in (*MOVED, TOP):
            for path in sorted((HOME / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    below = path.relative_to(HOME / TOP if package == TOP else HOME)
                    target = Path(self.build_lib, TOP, below)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    data = path.read_bytes()
                    target.write_bytes(renamed(data) if path.suffix == ".py" else data)


def renamed(source: bytes) -> bytes:
    """The source of a module, with `striate.` before the names of our modules."""
    lines = source.splitlines(keepends=True)
    for (line, column), text in sorted(insertions(ast.parse(source), lines), reverse=True):
        lines[line] = lines[line][:column] + text.encode() + lines[line][column:]
    return b"".join(lines)


def insertions(tree: ast.Module, lines: list[bytes]) -> Iterator[tuple[Place, str]]:
    """What is put where."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and is_moved(node.module or ""):
            yield (node.lineno - 1, node.col_offset + len("from ")), f"{TOP}."
        elif isinstance(node, ast.Import):
            for alias in filter(lambda alias: is_moved(alias.name), node.names):
                if not alias.asname and "." in alias.name:
                    raise ValueError(f"import {alias.name} binds a top-level name: write from ... import, or as.")
                if not alias.asname:
                    yield (alias.lineno - 1, alias.col_offset + len(alias.name)), f" as {alias.name}"
                yield (alias.lineno - 1, alias.col_offset), f"{TOP}."
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and names_module(node.value):
            place = node.lineno - 1, node.col_offset + 1
            if lines[place[0]][node.col_offset :][1:].startswith(node.value.encode()):
                yield place, f"{TOP}."


def is_moved(module: str) -> bool:
    return module.partition(".")[0] in MOVED


def names_module(text: str) -> bool:
    """`training.export.parity`, `service.worker.wsgi:application`: what Python is told to run or to import."""
    found = re.match(r"\w+(\.\w+)+", text)
    return bool(found and re.fullmatch(r"[\w.]+(:\w+)?", text)) and any(
        name in modules() for name in (found[0], found[0].rpartition(".")[0]) if "." in name
    )


@cache
def modules() -> frozenset[str]:
    paths = (path.relative_to(HOME).with_suffix("") for package in MOVED for path in (HOME / package).rglob("*.py"))
    return frozenset(".".join(path.parts).removesuffix(".__init__") for path in paths)


if __name__ == "__main__":  # the tests import this file
    setup(cmdclass={"build_py": BuildUnderTop})
