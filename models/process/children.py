"""Processes of our own code, whatever folder the user is in and whatever else lies there.

Python puts the current folder on its path for `python -m`, so that a `service/` or `models.py` of the user's would be
imported instead of ours. `-P` keeps that folder off, and PYTHONPATH names the folder that our packages lie in.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType


def own_code() -> Path:
    """The folder that our top-level packages lie in: a clone, or the site-packages of an installed wheel."""
    top = sys.modules[__name__.partition(".")[0]]
    return Path(top.__path__[0]).parent


def python_command(module: str, *arguments: str) -> list[str]:
    """What starts one of our modules, together with `python_environment`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def python_environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """These variables, and where our code lies."""
    path = [str(own_code()), *filter(None, [variables.get("PYTHONPATH")])]
    return {**variables, "PYTHONPATH": os.pathsep.join(path)}


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Processes that `multiprocessing` spawns in this block do not run the script of the user again.

    They need nothing of it. Otherwise a script without `if __name__ == "__main__":` would start itself in each of them,
    and one from standard input could not start them at all.
    """
    kept = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = kept
