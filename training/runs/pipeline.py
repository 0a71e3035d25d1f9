"""A run: everything from a folder or a named data set to a sealed bundle, and the directory that records it.

runs/<model>-<time>/
    config.json       settings, data, split sizes, versions: what it takes to do it again
    history.json      {metric: one value per epoch}
    label_errors.json labels that are likely wrong, where they were asked for
    predictions.csv   what the model answers for each image of the untouched test split
    metrics.json      what those come to
    audit.json        what is odd about the data (training.data.audit): files left out and why, duplicates, two labels, ...
    best.weights.npz  of the epoch with the lowest validation loss; of the last where patience is 0
    checkpoint.npz    where training stands, until the bundle is sealed: the same command goes on from there
    report.html       how the run goes, and in the end how good the model is
    bundle/           the exported bundle (models.bundle.manifest), ready to publish
"""

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import MANIFEST, Manifest, read_manifest
from models.files.durable import write_durably
from training.config.settings import Settings
from training.data.audit import findings
from training.data.dataset import Data
from training.data.named_sets import DATA_SETS
from training.data.split import Split
from training.evaluate.label_errors import LabelError, find_label_errors, out_of_fold
from training.evaluate.metrics import calibration_bins
from training.export.export import Answers, export
from training.fit.callbacks import Event
from training.fit.distributed import ALONE, Group
from training.fit.fit import Trained, fit, train
from training.fit.state import CHECKPOINT_EVERY_S
from training.report.filters import filters_picture
from training.report.page import GrowingReport, Report
from training.runs.bundle_contents import NUM_ANSWERS, choose_golden, first_not_empty, list_images, reference_of
from training.runs.directory import FOLDS, write_json
from training.runs.lineage import circumstances, describe
from training.runs.report_contents import MAX_PICTURES, describe_error, facts, mistakes, picture_of

NO_ORIGIN = {"from": None, "parent_version": None}


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
        Diverged, ExportFailed, ValueError: see `training.fit.fit.fit` and `training.export.export.export`.
    """

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
