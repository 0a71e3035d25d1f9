"""What all commands have in common: mistakes of the user are answered in one sentence, and Ctrl-C in one line."""

import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial, wraps
from typing import Any

import click

from models.errors import Failed, UserError
from models.process.interrupt import INTERRUPTED, interrupts_handled_by

Command = Callable[..., Any]
EXTRAS = {  # packages that not every installation has, and the extra of the package `striate` that brings them
    **dict.fromkeys(("h5py", "keras", "nncf", "rich", "scipy", "sklearn", "tensorflow", "threadpoolctl"), "train"),
    "ai_edge_litert": "litert",
    "tf2onnx": "onnx",
    "obstore": "store",
    "opentelemetry": "traces",
    "pyarrow": "parquet",
    "tensorboard": "tensorboard",
}


def explained(command: Command, *, continues: bool = False) -> Command:
    """Faults of the input, the machine or the training end in one sentence and exit status 1, without a traceback.

    A fault of the code keeps its traceback; so does every fault where STRIATE_TRACEBACK is set.

    Args:
        continues: the same command continues the work that was interrupted; Ctrl-C prints it.
    """

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            with interrupts_handled_by(signal.default_int_handler):
                return command(*args, **kwargs)
        except KeyboardInterrupt:
            click.echo(f"Interrupted.{f' Continue with: {same_command()}' if continues else ''}", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # whoever reads the output has read enough, as `head` does: click ends quietly
            raise
        except Exception as error:
            if os.environ.get("STRIATE_TRACEBACK") or not is_expected(error):
                raise
            raise click.ClickException(sentence(error)) from error

    return wrapper


resumable = partial(explained, continues=True)


def same_command() -> str:
    """The command as it was typed, without --fresh, which would begin anew."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--fresh"]
    return f"{click.get_current_context().find_root().info_name} {shlex.join(arguments)}"


def is_expected(error: Exception) -> bool:
    """Whether the input, the machine or the training caused it, and not a mistake in this code.

    TensorFlow and JAX have errors of their own for too little memory, a full disk and hosts that do not answer.
    """
    if isinstance(error, ModuleNotFoundError):
        return lacks(error) is not None
    kind = type(error)
    of_a_library = (
        kind.__module__.startswith("tensorflow.python.framework.errors") or kind.__name__ == "JaxRuntimeError"
    )
    return of_a_library or isinstance(error, UserError | Failed | OSError | MemoryError | BrokenProcessPool)


def sentence(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return lacks(error) or str(error)
    if isinstance(error, BrokenProcessPool):
        return "A process that decodes images was ended from outside, probably because there is not enough memory."
    if isinstance(error, MemoryError):
        return f"There is not enough memory: {error or 'use a smaller batch or network'}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full: {error}. Make room, or choose other folders with --cache, --runs and --exports."
    return str(error)


def lacks(error: ModuleNotFoundError) -> str | None:
    """Which package is not installed, and how to install it; None where it is none that may be absent."""
    name = (error.name or "").partition(".")[0]
    if name == "jax":
        return "KERAS_BACKEND=jax needs JAX, which has an environment of its own: make .venv-jax/ready."
    if error.name and error.name.rpartition(".")[2] == "training":  # the images that only serve are without it
        return "This installation only serves. The image `training` and an installation by pip have this command."
    if name not in EXTRAS:
        return None
    return f"This needs {name}, which is not installed here: pip install 'striate[{EXTRAS[name]}]'."
