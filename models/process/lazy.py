"""Imports that happen when a module is first used: Keras takes seconds, and `--help` need not wait for it."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

OWN = ("models", "service", "striate", "training")


class LazyFinder:
    """Finds our modules as Python does; each is executed when one of its attributes is asked for.

    Other packages do not bear that: what is in the middle of being imported would lack names.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in OWN:
            return None  # the next finder's
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def imported_when_used() -> Iterator[None]:
    """In this block `import package.module as name` imports nothing yet; `from package import name` would."""
    sys.meta_path.insert(0, LazyFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(LazyFinder)
