"""The directory of a run: held by one process, and found again by the command that was cut off."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from models.bundle.manifest import MANIFEST
from models.files.durable import replacing, write_durably
from models.files.locks import locked
from models.files.typed import read_json
from models.store.layout import check_model_name
from training.config.fields import with_new_names
from training.config.settings import Settings
from training.data.dataset import locate
from training.data.named_sets import DATA_SETS
from training.data.split import load_held_out
from training.fit.state import CHECKPOINT, FIRST
from training.runs.lineage import circumstances
from training.sources.labels import BY_FOLDERS, Labels

CONFIG = "config.json"
HELD_OUT = ".held-out"  # folder in the runs: which images of a data set are held out
DEFAULTS = {field.name: field.default for field in fields(Settings)}  # of settings that an older run lacks
FOLDS = "folds"  # of a search for wrong labels


def held_out_file(
    runs: Path, source: str, fractions: tuple[float, float], cache: Path, labels: Labels = BY_FOLDERS
) -> Path:
    """The file that records which images of a data set are held out, so that they stay held out when images are added.
    Images that are grouped in another way are remembered in another file, since a memory of single images would
    divide groups. Earlier versions kept it in the cache; it is copied from there.

    Raises:
        BadData: what the cache remembered is damaged.
    """
    root = str(locate(source, cache))
    name = source if source in DATA_SETS else root
    file = runs / HELD_OUT / f"{key_of(name, fractions, labels.grouping)}.npy"
    before = cache / "splits" / f"{key_of(root, fractions)}.npy"
    if before.exists() and not file.exists() and not labels.grouping:
        load_held_out(before)  # if it is damaged, that is said of this file
        with replacing(file) as temporary:
            shutil.copyfile(before, temporary)
    return file


def key_of(name: str, fractions: tuple[float, float], groups: str = "") -> str:
    return hashlib.sha256(json.dumps([name, fractions, *([groups] if groups else [])]).encode()).hexdigest()[:32]


@contextlib.contextmanager
def claim_run(runs: Path, model: str, config: dict[str, Any], *, fresh: bool = False) -> Iterator[Path]:
    """The directory of an unfinished run of this configuration that no process is at; else a new one.

    Args:
        config: everything that decides the weights.
        fresh: take a new one in any case.
    """
    check_model_name(model)
    runs.mkdir(parents=True, exist_ok=True)
    unfinished = [] if fresh else [path for path in sorted(runs.glob(f"{model}-*")) if is_unfinished(path, config)]
    with contextlib.ExitStack() as stack:
        for path in unfinished:
            if stack.enter_context(locked(path, folder=True, wait=False)) and is_unfinished(path, config):
                discard_leftovers(path)
                break
        else:
            path = new_run_directory(runs, model)
            stack.enter_context(locked(path, folder=True, wait=False))
            write_json(path / CONFIG, {**config, **circumstances()})
        yield path


def is_unfinished(run: Path, config: dict[str, Any]) -> bool:
    """Whether a run of this configuration was cut off: its bundle is not sealed, or was not dealt with."""
    try:
        found = read_json(run / CONFIG, dict[str, Any])
    except (OSError, ValueError):
        return False
    if isinstance(found.get("settings"), dict):  # an earlier version's may have had other names
        found["settings"] = {**DEFAULTS, **with_new_names(found["settings"])}
    wanted = json.loads(json.dumps(config))
    if isinstance(wanted.get("settings"), dict):
        wanted["settings"] = {**DEFAULTS, **wanted["settings"]}
    same = all(found.get(name) == value for name, value in wanted.items())
    return same and ((run / CHECKPOINT).exists() or not (run / "bundle" / MANIFEST).exists())


def is_open(path: Path) -> bool:
    """Whether it is the directory of a run whose bundle is not sealed yet."""
    return (path / CONFIG).exists() and not (path / "bundle" / MANIFEST).exists()


def finish(run: Path) -> None:
    """The run is over, and what it would take to go on with it is removed."""
    shutil.rmtree(run / FOLDS, ignore_errors=True)
    for name in (CHECKPOINT, FIRST):
        (run / name).unlink(missing_ok=True)


def discard_leftovers(run: Path) -> None:
    """What a kill left half written: a bundle that is not sealed, files that were to be renamed."""
    if not (run / "bundle" / MANIFEST).exists():
        shutil.rmtree(run / "bundle", ignore_errors=True)
    for path in run.glob(".*-*"):
        path.unlink()


def new_run_directory(runs: Path, model: str) -> Path:
    """A directory that no other run has, named by model and time."""
    stem, suffix = f"{model}-{time.strftime('%Y%m%d-%H%M%S')}", 0
    while True:
        run = runs / (f"{stem}-{suffix}" if suffix else stem)
        try:
            run.mkdir()
        except FileExistsError:
            suffix += 1
        else:
            return run


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_durably(path, text.encode("utf-8", "backslashreplace").decode())  # file names may be no Unicode
