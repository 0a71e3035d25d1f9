"""Where a model comes from: what decides its weights, by which code, on which machine."""

import contextlib
import hashlib
import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.process.children import own_code
from training.config.settings import Settings

if TYPE_CHECKING:
    from training.data.dataset import Data

LIBRARIES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "pillow")


def describe(data: "Data", settings: Settings) -> dict[str, Any]:
    """From what and how a model comes to be: all that decides its weights."""
    import keras

    added: dict[str, Any] = {"further_images": int(data.is_further().sum())} if data.more else {}
    if data.labels:
        added["labels"] = data.labels
    if data.decoded.given_groups is not None:
        added["num_groups"] = int(data.decoded.given_groups.max(initial=-1)) + 1
    sizes = {side: len(getattr(data.split, side)) for side in ("train", "val", "test")}
    fractions = dict(zip(("val", "test"), data.fractions, strict=True))
    return {
        "data": {"source": data.source, "fingerprint": data.fingerprint(), **sizes, **added, "fractions": fractions},
        "input_spec": data.spec.to_json(),
        "settings": settings.to_json(),
        "backend": keras.config.backend(),
    }


def circumstances() -> dict[str, Any]:
    """The rest of its lineage: when, and by which code."""
    return {
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_revision": git_revision(),
        "libraries": installed_versions(),
        "machine": machine(),
    }


def code_fingerprint() -> str:
    """One hash of the code that decides weights and verdicts: this package, `models`, and the libraries."""
    here = Path(__file__).parents[1]
    files = sorted([*here.rglob("*.py"), *here.with_name("models").rglob("*.py")])
    digest = hashlib.sha256("".join(f"{name} {version}\n" for name, version in installed_versions().items()).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def installed_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # TensorFlow comes under one name or the other
            versions[name] = version(name)
    return versions


def git_revision() -> str | None:
    """The commit of this code, with "-dirty" where files differ from it; None outside a checkout or without git.

    An installed package may lie inside a repository of the user's, whose commit says nothing about it.
    """
    home = own_code()
    if not (home / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True)
    except OSError:  # no git here, as in the image
        return None
    return done.stdout.strip() or None


def machine() -> dict[str, Any]:
    """What it runs on."""
    cpu_info, names = Path("/proc/cpuinfo"), []
    if cpu_info.exists():
        names = re.findall(r"^model name\s*: (.*)$", cpu_info.read_text(), re.MULTILINE)
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
    }
