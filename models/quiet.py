"""TensorFlow greets on standard error when it is imported, whatever its log level is; this keeps it from that."""

import contextlib
import importlib
import os
from collections.abc import Iterator


def import_quietly(*modules: str) -> None:
    """Import modules whose native code writes to file descriptor 2; an ImportError comes through as ever."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with native_stderr_closed():
        for module in modules:
            importlib.import_module(module)


@contextlib.contextmanager
def native_stderr_closed() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
