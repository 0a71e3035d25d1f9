"""A run: everything from a folder or a named data set to a sealed bundle, and the directory that records it.

runs/<model>-<time>/
    config.json       settings, data, split sizes, versions: what it takes to do it again
    history.json      {metric: one value per epoch}
    label_errors.json labels that are likely wrong, where they were asked for
    predictions.csv   what the model answers for each image of the untouched test split
    metrics.json      what those come to
    audit.json        what is odd about the data (training.audit): files left out and why, duplicates, two labels, ...
    best.weights.npz  of the epoch with the lowest validation loss; of the last where patience is 0
    checkpoint.npz    where training stands, until the bundle is sealed: the same command goes on from there
    report.html       how the run goes, and in the end how good the model is
    bundle/           the exported bundle (models.bundle), ready to publish
"""

import hashlib
import io
import itertools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Console

from models.bundle import IMAGE, MANIFEST, TESTED_ON, Manifest, read_manifest
from models.durable import write_durably
from models.folders import expanded
from models.preprocessing import InputSpec
from models.statistics import Reference, make_reference
from training.audit import Audit, audit, findings
from training.cache import DecodedImages, decode_all
from training.datasets import DATA_SETS, folder_of
from training.export import Answers, export
from training.index import Index, check_apart, index_folder
from training.label_errors import LabelError, find_label_errors, out_of_fold
from training.lineage import circumstances, describe, facts
from training.metrics import calibration_bins
from training.position import CHECKPOINT_EVERY_S
from training.predictions import Predictions
from training.progress import Event, decoding_bar
from training.report import GrowingReport, Picture, Report
from training.run_directory import FOLDS, write_json
from training.settings import Settings
from training.split import FRACTIONS, Split, split_by_content

if TYPE_CHECKING:  # it imports Keras
    from training.distributed import Group
    from training.fit import Trained

MAX_PICTURES = 24  # of mistakes, and of likely label errors, in the report
NUM_ANSWERS = 64  # images on which export must agree
NUM_REFERENCE = 2000  # images by which later ones are found unusual, where none are held out to test
NUM_GOLDEN = 10
NO_ORIGIN = {"from": None, "parent_version": None}
MAX_GOLDEN_BYTES = 1_000_000  # of one golden image; a bundle is no place for originals of 20 MB


@dataclass(frozen=True, slots=True)
class Data:
    """Decoded images with their split, and where they come from.

    Attributes:
        root: what the images' paths are relative to.
        fractions: of validation and test that were asked for, where the folder was not split already.
        more: folders of further images.
    """

    source: str
    root: Path
    decoded: DecodedImages
    audit: Audit
    split: Split
    spec: InputSpec
    fractions: tuple[float, float]
    more: tuple[Path, ...] = ()

    def fingerprint(self) -> str:
        """One hash of the images that are on some side, with their labels."""
        return self.decoded.fingerprint(np.concatenate([self.split.train, self.split.val, self.split.test]))

    def is_further(self) -> np.ndarray:
        """bool (N,): the images of `more`."""
        beginnings = tuple(f"{folder.relative_to(self.root)}/" for folder in self.more)
        return np.array([bool(beginnings) and path.startswith(beginnings) for path in self.decoded.paths], bool)


def prepare(
    source: str,
    spec: InputSpec,
    cache: Path,
    console: Console,
    *,
    fractions: tuple[float, float] = FRACTIONS,
    more: tuple[Path, ...] = (),
    without: np.ndarray | None = None,
    memory: Path | None = None,
) -> Data:
    """Find, decode and split the images of a folder or a named data set.

    Args:
        fractions: of validation and test, where the folder is not split already.
        more: folders of further images (`training.index.index_folder`).
        without: hashes of images that are left out (`training.split.split_by_content`).
        memory: the file that remembers who was held out; one in the cache, where none is named.

    Raises:
        BadData: it cannot be trained on as it is.
    """
    root = resolve(source, cache)
    index = index_folder(root, more)
    decoded = decode_folder(index, spec, cache, console)
    key = hashlib.sha256(json.dumps([str(root), fractions]).encode()).hexdigest()[:32]
    memory = memory or cache / "splits" / f"{key}.npy"
    found = audit(decoded, index.left_out)
    if without is not None:
        decoded = without_empty_classes(decoded, without)
    split = split_by_content(decoded, fractions, memory=memory, without=without)
    return Data(source, index.root, decoded, found, split, spec, fractions, more)


def without_empty_classes(decoded: DecodedImages, without: np.ndarray) -> DecodedImages:
    """No class of which all images are left out; those images have the label 0, and are on no side."""
    kept = np.bincount(decoded.labels[~np.isin(decoded.hashes(), without)], minlength=len(decoded.class_names)) > 0
    places = np.maximum(np.cumsum(kept) - 1, 0) * kept
    names = tuple(name for name, has_images in zip(decoded.class_names, kept, strict=True) if has_images)
    return replace(decoded, class_names=names, labels=places[decoded.labels])


def decode_folder(index: Index, spec: InputSpec, cache: Path, console: Console) -> DecodedImages:
    """`decode_all` with a bar that shows how far it is."""
    with decoding_bar(console) as bar:
        task = bar.add_task("decoding", total=len(index.paths))
        decoded = decode_all(index, spec, cache, on_progress=lambda done: bar.update(task, advance=done))
        bar.update(task, completed=len(index.paths))
    return decoded


def resolve(source: str, cache: Path) -> Path:
    """A named data set's folder, or the path itself.

    Raises:
        BadData: the cache lies in it, and would be taken for images.
    """
    if source in DATA_SETS:
        return folder_of(source, cache)
    root = expanded(source).resolve()
    check_apart(root, ("--cache", cache))
    return root


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
    num_folds: int = 0,
    start: Path | None = None,
    origin: dict[str, Any] | None = None,
    group: "Group | None" = None,
) -> Manifest:
    """Fill a run directory; the bundle lies sealed in `run/bundle` when this returns.

    Args:
        run: a directory of one's own: `claim_run`.
        on_event: called with the figures of each epoch.
        num_folds: parts of the training images by which to look for wrong labels; 0: do not look.
        start: a bundle to start from.
        origin: what the lineage says of that.
        group: the processes that train with this one, which leads.

    Raises:
        Diverged, ExportFailed, ValueError: see `training.fit.fit` and `training.export.export`.
    """
    from training.distributed import ALONE  # these import Keras, and that takes seconds
    from training.filters import filters_picture
    from training.fit import fit

    if (run / "bundle" / MANIFEST).exists():  # cut off after the bundle was sealed
        return read_manifest(run / "bundle")
    write_json(run / "audit.json", data.audit.to_json())
    title = f"{model_name}: {settings.architecture} on {Path(data.source).name}"
    growing = Report(title, facts(data, settings), list(findings(data.audit)))

    trained = fit(
        data.decoded,
        data.split,
        settings,
        run,
        console=console,
        tensorboard=tensorboard,
        on_event=on_event,
        observers=[GrowingReport(run / "report.html", growing)],
        checkpoint_every_s=checkpoint_every_s,
        start=start,
        group=group or ALONE,
    )
    write_json(run / "history.json", trained.history)
    trained.predictions.write(run / "predictions.csv")
    write_json(run / "metrics.json", trained.metrics)
    label_errors = []
    if num_folds:
        console.print(f"looking for wrong labels: training {num_folds} times on parts of the images", highlight=False)

        def train(fold: Split, number: int) -> "Trained":
            folder = run / FOLDS / f"{number}-of-{num_folds}"
            folder.mkdir(parents=True, exist_ok=True)
            return fit(data.decoded, fold, settings, folder, console=console, start=start)

        label_errors = doubt_labels(data, trained, num_folds, train)
        write_json(run / "label_errors.json", [describe_error(data, error) for error in label_errors])
    report = replace(
        growing,
        facts=facts(data, trained.settings),
        history=trained.history,
        metrics=trained.metrics,
        bins=calibration_bins(trained.predictions),
        mistakes=mistakes(data, trained.predictions),
        filters=filters_picture(trained.model),
        label_errors=[picture_of(data, error) for error in label_errors[:MAX_PICTURES]] if num_folds else None,
    ).html()
    write_durably(run / "report.html", report)
    manifest = Manifest(
        model=model_name,
        architecture=settings.architecture,
        class_names=data.decoded.class_names,
        input_spec=data.spec,
        metrics={"test": trained.metrics},
        temperature=trained.calibration.temperature,
        mirrored=settings.mirror_answers,
        reference=reference_of(data, trained),
        drawing=DATA_SETS[data.source].drawing if data.source in DATA_SETS else None,
        lineage={**describe(data, trained.settings), **NO_ORIGIN, **(origin or {}), **circumstances()},
    )
    rows_to_check = first_not_empty(data.split.val, data.split.train)[:NUM_ANSWERS]
    images = np.asarray(data.decoded.images[rows_to_check])
    answers = Answers(images, trained.probabilities(images))
    console.print("exporting, and asking the export in a fresh process", highlight=False)
    export(
        run,
        model=trained.model,
        classify=trained.probabilities,
        manifest=manifest,
        golden=choose_golden(data),
        answers=answers,
        report=report,
        images=list_images(data, trained.predictions),
    )
    return read_manifest(run / "bundle")


def follow(data: Data, settings: Settings, console: Console, *, start: Path | None, group: "Group") -> None:
    """Take part in a run that another process leads; nothing is written."""
    from training.fit import train

    with tempfile.TemporaryDirectory() as nowhere:
        train(
            data.decoded,
            data.split,
            settings,
            Path(nowhere),
            console,
            observers=[],
            checkpoint_every_s=CHECKPOINT_EVERY_S,
            start=start,
            group=group,
        )


def doubt_labels(
    data: Data, trained: "Trained", num_folds: int, train: Callable[[Split, int], "Trained"]
) -> list[LabelError]:
    """Labels that are contradicted by a network that had not seen the image: of a test image the run's own."""
    numbers = itertools.count()
    rows, probabilities = out_of_fold(
        data.decoded, data.split, num_folds, lambda fold: train(fold, next(numbers)).predictions.probabilities
    )
    rows = np.concatenate([rows, data.split.test])
    probabilities = np.concatenate([probabilities, trained.predictions.probabilities])
    return find_label_errors(rows, data.decoded.labels[rows], probabilities)


def describe_error(data: Data, error: LabelError) -> dict[str, Any]:
    names = data.decoded.class_names
    return {
        "image": data.decoded.paths[error.row],
        "label": names[error.label],
        "suggested": names[error.suggested],
        "probability": error.probability,
    }


def picture_of(data: Data, error: LabelError) -> Picture:
    said = describe_error(data, error)
    caption = f"{said['image']}: rather {said['suggested']} ({error.probability:.0%})"
    return Picture(np.asarray(data.decoded.images[error.row]), caption)


def mistakes(data: Data, predictions: Predictions) -> list[Picture]:
    """Test images that were taken for something else, the most confident mistakes first."""
    answers = predictions.probabilities.argmax(axis=1)
    confidence = predictions.probabilities.max(axis=1, initial=0)
    wrong = np.flatnonzero(answers != predictions.labels)
    return [
        Picture(
            np.asarray(data.decoded.images[data.split.test[i]]),
            f"{predictions.paths[i]}: taken for {predictions.class_names[answers[i]]} ({confidence[i]:.0%})",
        )
        for i in wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_PICTURES]
    ]


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


def reference_of(data: Data, trained: "Trained") -> Reference | None:
    """What the model met when it was judged: the test images and its answers, or without those some others'."""
    rows, answers = data.split.test, trained.predictions.probabilities
    if not len(rows):
        rows = first_not_empty(data.split.val, data.split.train)[:NUM_REFERENCE]
        batches = (rows[i : i + NUM_ANSWERS] for i in range(0, len(rows), NUM_ANSWERS))
        answers = np.concatenate([trained.probabilities(np.asarray(data.decoded.images[batch])) for batch in batches])
    return make_reference(data.decoded.class_names, data.decoded.images, rows, answers) if len(rows) > 1 else None


def list_images(data: Data, predictions: Predictions) -> np.ndarray:
    """IMAGE (N,): the images on some side, and what was said of those tested on."""
    sides = (data.split.train, data.split.val, data.split.test)
    listed = np.empty(sum(map(len, sides)), IMAGE)
    rows = np.concatenate(sides)
    listed["hash"], listed["label"] = data.decoded.hashes()[rows], data.decoded.labels[rows]
    listed["side"] = np.repeat((1, 2, TESTED_ON), [len(side) for side in sides])
    listed["predicted"] = -1
    listed["predicted"][listed["side"] == TESTED_ON] = predictions.probabilities.argmax(axis=1)
    return listed


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
