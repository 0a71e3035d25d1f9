"""Suppresses what TensorFlow prints to standard error when it is imported, whatever its log level is."""

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator

from models.errors import UserError
from models.process.interrupt import end_at_once, interrupts_handled_by

KERAS_BACKENDS = ("tensorflow", "jax")


def import_quietly(*modules: str) -> None:
    """Import modules whose native code writes to file descriptor 2; an ImportError comes through as ever.

    Raises:
        UserError: Keras is to run on something that Striate does not train on.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    backend = os.environ.get("KERAS_BACKEND") or KERAS_BACKENDS[0]
    if backend not in KERAS_BACKENDS:
        raise UserError(f"KERAS_BACKEND is {backend!r}; it can be {' or '.join(KERAS_BACKENDS)}.")
    with native_stderr_closed(), interrupts_handled_by(end_at_once):
        for module in modules:
            importlib.import_module(module)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each network after the fourth in a process


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
