"""`striate demo`: a first model of handwritten digits, trained in a minute and served."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from models.process.children import python_command, python_environment
from models.process.commands import explained
from models.store.layout import published_models

MODEL = "digits"
TRAINING = ("--data", "digits", "--model", "lenet5", "--name", MODEL, "--dropout", "0.3", "--epochs", "30", "--publish")
WHO_MAY_GIVE_FEEDBACK = ("SERVICE_HOST", "SERVICE_FEEDBACK_KEYS", "SERVICE_KEYS_FILE")


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="striate-demo",
    show_default=True,
    help="Where models, runs and feedback are kept.",
)
@click.option("--host", help="Address to listen on. [default: SERVICE_HOST, or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on. [default: SERVICE_PORT, or 8000]")
@click.option("--train-only", is_flag=True, help="Serve nothing.")
@explained
def demo(folder: Path, host: str | None, port: int | None, train_only: bool) -> None:
    """Train a model of handwritten digits, if there is no model yet, and serve it with its page.

    The data set comes with scikit-learn, so nothing is downloaded.
    """
    exports = folder / "exports"
    if not published_models(exports):
        places = ("--exports", str(exports), "--runs", str(folder / "runs"), "--cache", str(folder / ".cache"))
        done = subprocess.run(python_command("striate", "train", *TRAINING, *places), env=python_environment())
        if done.returncode:
            sys.exit(done.returncode)
    if train_only:
        return
    os.environ.setdefault("SERVICE_EXPORTS", str(exports))
    if opens_feedback(host, os.environ):
        os.environ["SERVICE_FEEDBACK_OPEN"] = "1"
    os.environ.setdefault("SERVICE_FEEDBACK", str(folder / "feedback"))
    from service.cli.app import run  # here and not above: `striate --help` need not wait for it

    run(host=host, port=port)


def opens_feedback(host: str | None, environment: Mapping[str, str]) -> bool:
    """Whether this machine may give feedback without a key: unless somebody has said who may."""
    said = host is not None or any(environment.get(name) for name in WHO_MAY_GIVE_FEEDBACK)
    return not said and environment.get("SERVICE_FEEDBACK") != "" and "SERVICE_FEEDBACK_OPEN" not in environment
