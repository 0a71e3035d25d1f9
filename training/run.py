"""A run: everything from a folder or a named data set to a sealed bundle, and the directory that records it.

runs/<model>-<time>/
    config.json       settings, data, split sizes, versions: what it takes to do it again
    history.json      {metric: one value per epoch}
    predictions.csv   what the model answers for each image of the untouched test split
    metrics.json      what those come to
    audit.json        what is odd about the data (training.audit): files left out and why, duplicates, two labels, ...
    best.weights.h5   of the epoch with the lowest validation loss; of the last where patience is 0
    checkpoint.npz    where training stands, until the bundle is sealed: the same command goes on from there
    report.html       how good the model is
    bundle/           the exported bundle (models.bundle), ready to publish
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from models.bundle import MANIFEST, Manifest, check_model_name
from models.durable import write_durably
from models.preprocessing import InputSpec
from training.audit import Audit, audit, findings
from training.cache import DecodedImages, decode_all
from training.datasets import DATA_SETS, folder_of
from training.export import Answers, export
from training.index import Index, index_folder
from training.metrics import calibration_bins
from training.position import CHECKPOINT_EVERY_S
from training.progress import Event, decoding_bar
from training.report import render
from training.settings import Settings
from training.split import FRACTIONS, Split, split_by_content

CONFIG = "config.json"
NUM_ANSWERS = 64  # images on which export must agree
NUM_GOLDEN = 10
MAX_GOLDEN_BYTES = 1_000_000  # of one golden image; a bundle is no place for originals of 20 MB
LIBRARIES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class Data:
    """Decoded images with their split, and where they come from.

    Attributes:
        fractions: of validation and test that were asked for, where the folder was not split already.
    """

    source: str
    root: Path
    decoded: DecodedImages
    audit: Audit
    split: Split
    spec: InputSpec
    fractions: tuple[float, float]


def prepare(
    source: str, spec: InputSpec, cache: Path, console: Console, *, fractions: tuple[float, float] = FRACTIONS
) -> Data:
    """Find, decode and split the images of a folder or a named data set.

    Args:
        fractions: of validation and test, where the folder is not split already.

    Raises:
        BadData: it cannot be trained on as it is.
    """
    root = resolve(source, cache)
    decoded = decode_folder(index_folder(root), spec, cache, console)
    key = hashlib.sha256(json.dumps([str(root), fractions]).encode()).hexdigest()[:32]
    split = split_by_content(decoded, fractions, memory=cache / "splits" / f"{key}.npy")
    return Data(source, root, decoded, audit(decoded), split, spec, fractions)


def decode_folder(index: Index, spec: InputSpec, cache: Path, console: Console) -> DecodedImages:
    """`decode_all` with a bar that shows how far it is."""
    with decoding_bar(console) as bar:
        task = bar.add_task("decoding", total=len(index.paths))
        decoded = decode_all(index, spec, cache, on_progress=lambda done: bar.update(task, advance=done))
        bar.update(task, completed=len(index.paths))
    return decoded


def resolve(source: str, cache: Path) -> Path:
    """A named data set's folder, or the path itself."""
    return folder_of(source, cache) if source in DATA_SETS else Path(source).expanduser().resolve()


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
            if stack.enter_context(sole_owner(path)):
                discard_leftovers(path)
                break
        else:
            path = new_run_directory(runs, model)
            stack.enter_context(sole_owner(path))
            write_json(path / CONFIG, {**config, **circumstances()})
        yield path


def is_unfinished(run: Path, config: dict[str, Any]) -> bool:
    """Whether a run of this configuration was cut off before its bundle was sealed."""
    try:
        found = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = all(found.get(name) == value for name, value in json.loads(json.dumps(config)).items())
    return same and not (run / "bundle" / MANIFEST).exists()


@contextlib.contextmanager
def sole_owner(run: Path) -> Iterator[bool]:
    """Whether no other process is at this run; until the end of the block none will be. A kill lets go, too."""
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def discard_leftovers(run: Path) -> None:
    """What a kill left half written: a bundle that is not sealed, files that were to be renamed."""
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


def train_and_export(
    run: Path,
    model_name: str,
    data: Data,
    settings: Settings,
    *,
    console: Console,
    tensorboard: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Manifest:
    """Fill a run directory; the bundle lies sealed in `run/bundle` when this returns.

    Args:
        run: a directory of one's own: `claim_run`.
        on_event: called with the figures of each epoch.

    Raises:
        Diverged, ExportFailed, ValueError: see `training.fit.fit` and `training.export.export`.
    """
    from training.checkpoint import CHECKPOINT  # these import Keras, and that takes seconds
    from training.fit import fit

    write_json(run / "audit.json", data.audit.to_json())
    trained = fit(
        data.decoded,
        data.split,
        settings,
        run,
        console=console,
        tensorboard=tensorboard,
        on_event=on_event,
        checkpoint_every_s=checkpoint_every_s,
    )
    write_json(run / "history.json", trained.history)
    trained.predictions.write(run / "predictions.csv")
    write_json(run / "metrics.json", trained.metrics)
    report = render(
        f"{model_name}: {settings.architecture} on {Path(data.source).name}",
        trained.metrics,
        calibration_bins(trained.predictions),
        trained.history,
        {
            "trained on": len(data.split.train),
            "validated on": len(data.split.val),
        },
        list(findings(data.audit)),
    )
    write_durably(run / "report.html", report)
    manifest = Manifest(
        model=model_name,
        architecture=settings.architecture,
        class_names=data.decoded.class_names,
        input_spec=data.spec,
        metrics={"test": trained.metrics},
        temperature=trained.temperature,
        drawing=DATA_SETS[data.source].drawing if data.source in DATA_SETS else None,
        lineage={**describe(data, trained.settings), **circumstances()},
    )
    rows_to_check = first_not_empty(data.split.val, data.split.train)[:NUM_ANSWERS]
    images = np.asarray(data.decoded.images[rows_to_check])
    answers = Answers(images, trained.probabilities(images))
    console.print("exporting, and asking the export in a fresh process", highlight=False)
    export(
        run,
        model=trained.model,
        manifest=manifest,
        golden=choose_golden(data),
        answers=answers,
        report=report,
    )
    (run / CHECKPOINT).unlink()
    return manifest


def choose_golden(data: Data) -> list[bytes]:
    """Encoded images, of as many different classes as there is room for, each small enough to travel.

    They are test images, unless nothing was held out.
    """
    chosen: dict[int, bytes] = {}
    for row in first_not_empty(data.split.test, data.split.train):
        label = int(data.decoded.labels[row])
        if label not in chosen and len(chosen) < NUM_GOLDEN:
            chosen[label] = travelling(data, row)
    return [chosen[label] for label in sorted(chosen)]


def first_not_empty(*choices: np.ndarray) -> np.ndarray:
    return next(rows for rows in choices if len(rows))


def travelling(data: Data, row: int) -> bytes:
    """The image's file; where that is large, a PNG of what was decoded, which decodes to the same pixels."""
    path = data.root / data.decoded.paths[row]
    if path.stat().st_size <= MAX_GOLDEN_BYTES:
        return path.read_bytes()
    image, png = data.decoded.images[row], io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image).save(png, "PNG")
    return png.getvalue()


def describe(data: Data, settings: Settings) -> dict[str, Any]:
    """From what and how a model comes to be: all that decides its weights."""
    sizes = {side: len(getattr(data.split, side)) for side in ("train", "val", "test")}
    fractions = dict(zip(("val", "test"), data.fractions, strict=True))
    return {
        "data": {"source": data.source, "fingerprint": data.decoded.fingerprint(), **sizes, "fractions": fractions},
        "input_spec": data.spec.to_json(),
        "settings": settings.to_json(),
    }


def circumstances() -> dict[str, Any]:
    """The rest of its lineage: when, and by which code."""
    return {
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_revision": git_revision(),
        "parent_version": None,
        "libraries": installed_versions(),
    }


def installed_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # TensorFlow comes under one name or the other
            versions[name] = version(name)
    return versions


def git_revision() -> str | None:
    """The commit of this code, with "-dirty" where files differ from it; None outside a checkout or without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:  # no git here, as in the image
        return None
    return done.stdout.strip() or None


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_durably(path, text.encode("utf-8", "backslashreplace").decode())  # file names may be no Unicode
