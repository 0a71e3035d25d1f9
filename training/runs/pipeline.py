"""A run: everything from a folder or a named data set to a sealed bundle, and the directory that records it.

runs/<model>-<time>/
    config.json       settings, data, split sizes, versions: what it takes to do it again
    history.json      {metric: one value per epoch}
    label_errors.json labels that are likely wrong, where they were asked for
    predictions.csv   what the model answers for each image of the untouched test split; also .parquet, where asked for
    metrics.json      what those come to
    audit.json        what is odd about the data (`training.data.audit`): files left out and why, duplicates, ...
    best.weights.npz  of the epoch with the lowest validation loss; of the last where patience is 0
    first.weights.npz where the last stages are trained: from before, until the bundle is sealed
    checkpoint.npz    where training stands, until the bundle is sealed: the same command goes on from there
    report.html       how the run goes, and in the end how good the model is
    head/             where the last stages are trained: a run of its own, of the last layer alone
    bundle/           the exported bundle (models.bundle.manifest), ready to publish
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle.manifest import MANIFEST, REPORT, Manifest, read_manifest
from models.files.durable import write_durably
from models.insight.familiarity import UNUSUAL
from models.insight.thumbnails import write_thumbnails
from training.config.settings import Settings
from training.data.audit import findings
from training.data.dataset import Data
from training.data.named_sets import DATA_SETS
from training.data.split import Split
from training.evaluate.label_errors import LabelError, find_label_errors, out_of_fold
from training.evaluate.metrics import calibration_bins
from training.evaluate.predictions import Predictions
from training.export.export import export
from training.export.int8 import make_faithful_form
from training.fit.fit import Trained, fit, train
from training.fit.options import FitOptions
from training.report.filters import filters_picture
from training.report.page import GrowingReport, Report
from training.runs.bundle_contents import (
    NUM_ANSWERS,
    choose_golden,
    first_not_empty,
    for_int8,
    list_images,
    reference_of,
)
from training.runs.directory import FOLDS, write_json
from training.runs.insight import is_enough, learn_familiarity, network_of, with_maps, with_similar
from training.runs.layers import write_layers
from training.runs.lineage import circumstances, describe
from training.runs.report_contents import MAX_PICTURES, describe_error, facts, mistakes, picture_of

HEAD = "head"


def train_and_export(
    run: Path,
    model_name: str,
    data: Data,
    settings: Settings,
    options: FitOptions,
    *,
    num_folds: int = 0,
    in_parquet: bool = False,
    thumbnails: bool = False,
    start: Path | None = None,
    origin: dict[str, Any],
    sources: Mapping[str, str],
) -> Manifest:
    """Fill a run directory; the bundle lies sealed in `run/bundle` when this returns.

    Args:
        run: a directory of one's own: `claim_run`.
        num_folds: parts of the training images by which to look for wrong labels; 0: do not look.
        in_parquet: write all probabilities as Parquet, too.
        thumbnails: the bundle shows training images that are similar to one that is asked about.
        start: a bundle to start from.
        origin: what the lineage says of that.
        sources: the layer that each setting comes from, for the report.

    Raises:
        Diverged, ExportFailed, ValueError: see `training.fit.fit.fit` and `training.export.export.export`.
    """
    if (run / "bundle" / MANIFEST).exists():  # cut off after the bundle was sealed
        return read_manifest(run / "bundle")
    begin = start
    if settings.train == "tail":
        head = replace(settings, train="head", int8="off")  # it is there to be soon ready
        begin = first_model(run / HEAD, model_name, data, head, options, start=start, origin=origin, sources=sources)
    write_json(run / "audit.json", data.audit.to_json())
    title = f"{model_name}: {settings.architecture} on {Path(data.source).name}"
    report = Report(title, facts(data, settings, sources), list(findings(data.audit)))
    growing = GrowingReport(run / "report.html", report)

    watched = replace(options, callbacks=[*options.callbacks, growing])
    trained = fit(data.decoded, data.split, settings, run, watched, start=begin)
    write_json(run / "history.json", trained.history)
    write_answers(run, trained.predictions, in_parquet=in_parquet)
    write_json(run / "metrics.json", trained.metrics)
    label_errors = (
        search_label_errors(run, data, trained, settings, num_folds, options, start=start) if num_folds else None
    )
    report = completed(report, data, trained, label_errors, sources)
    write_durably(run / "report.html", report.html())

    options.console.print("exporting the model and verifying the export", highlight=False)
    lineage = {**describe(data, trained.settings), **origin, **circumstances()}
    manifest = manifest_of(model_name, data, trained, lineage)
    export_trained(run, data, trained, manifest, report, options.console, thumbnails=thumbnails)
    return read_manifest(run / "bundle")


def export_trained(
    run: Path,
    data: Data,
    trained: Trained,
    manifest: Manifest,
    report: Report,
    console: Console,
    *,
    thumbnails: bool,
) -> None:
    def finish(bundle: Path) -> dict[str, Any]:
        say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        write_layers(bundle, trained.model, data.spec)
        finished = with_insight(report, bundle, data, manifest, say, thumbnails=thumbnails)
        write_durably(run / "report.html", finished.html())
        published = finished if thumbnails else finished.without_training_images()
        write_durably(bundle / REPORT, published.html())
        return make_faithful_form(bundle, manifest, for_int8(data, trained.settings), trained.settings.int8, say)

    rows = first_not_empty(data.split.val, data.split.train)[:NUM_ANSWERS]
    export(
        run,
        model=trained.model,
        classify=trained.probabilities,
        manifest=manifest,
        golden=choose_golden(data),
        checked=np.asarray(data.decoded.images[rows]),
        images=list_images(data, trained.predictions),
        finish=finish,
    )


def with_insight(
    report: Report, bundle: Path, data: Data, manifest: Manifest, say: Callable[[str], None], *, thumbnails: bool
) -> Report:
    """Write into the bundle what is usual for its network; the report with what its mistakes resemble."""
    network, images, names = network_of(bundle), data.decoded.images, data.decoded.class_names
    if network is None:
        say("OpenVINO cannot read the network: the bundle cannot tell unusual images, nor show training images")
        return report
    mistakes = with_maps(report.mistakes, network, names)
    shown = 0
    if manifest.unusual_above is not None:
        drawn = manifest.drawing is not None
        familiarity, known = learn_familiarity(network, images, data.split, are_drawn=drawn)
        familiarity.write(bundle)
        shown = len(familiarity.known) if thumbnails else 0
        rows = known.rows[:shown]
        if shown:
            write_thumbnails(bundle, (np.asarray(images[row]) for row in rows), data.decoded.labels[rows])
        labels = [names[label] for label in data.decoded.labels]
        mistakes = with_similar(mistakes, network, familiarity, known, images, labels)
    if thumbnails and not shown:
        say("no thumbnails: the network has no last dense layer, or fewer than 50 images were held out")
    return replace(report, mistakes=mistakes)


def write_answers(run: Path, predictions: Predictions, *, in_parquet: bool) -> None:
    predictions.write(run / "predictions.csv")
    if in_parquet:
        predictions.write(run / "predictions.parquet")


def first_model(run: Path, model_name: str, data: Data, settings: Settings, options: FitOptions, **more: Any) -> Path:
    """A first model in a run directory of its own, of which only the last layer is trained; returns its bundle.

    Args:
        more: as of `train_and_export`.
    """
    if not (run / "bundle" / MANIFEST).exists():
        shutil.rmtree(run, ignore_errors=True)  # what a run that was killed has left there
        run.mkdir()
        manifest = train_and_export(run, model_name, data, settings, replace(options, callbacks=()), **more)
        test = manifest.metrics["test"]
        figure = f", {test['accuracy']:.2%} of the test images" if test["num_images"] else ""
        line = f"first model{figure}: striate publish {run}; training goes on"
        options.console.print(line, highlight=False, soft_wrap=True)
    return run / "bundle"


def follow(data: Data, settings: Settings, options: FitOptions, *, start: Path | None) -> None:
    """Take part in a run that another process leads; nothing is written or printed."""
    options = FitOptions(group=options.group)
    with tempfile.TemporaryDirectory() as nowhere:
        train(data.decoded, data.split, settings, Path(nowhere), options, start=start)


def search_label_errors(
    run: Path,
    data: Data,
    trained: Trained,
    settings: Settings,
    num_folds: int,
    options: FitOptions,
    *,
    start: Path | None,
) -> list[LabelError]:
    """Labels that a network contradicts which was not trained on the image; for test images that is the run's own."""
    options.console.print(
        f"looking for wrong labels: training {num_folds} times on parts of the images", highlight=False
    )
    numbers = itertools.count()

    def predict(fold: Split) -> np.ndarray:
        folder = run / FOLDS / f"{next(numbers)}-of-{num_folds}"
        folder.mkdir(parents=True, exist_ok=True)
        return fit(
            data.decoded, fold, settings, folder, FitOptions(options.console), start=start
        ).predictions.probabilities

    rows, probabilities = out_of_fold(data.decoded, data.split, num_folds, predict)
    rows = np.concatenate([rows, data.split.test])
    probabilities = np.concatenate([probabilities, trained.predictions.probabilities])
    found = find_label_errors(rows, data.decoded.labels[rows], probabilities)
    write_json(run / "label_errors.json", [describe_error(data, error) for error in found])
    return found


def completed(
    report: Report, data: Data, trained: Trained, label_errors: list[LabelError] | None, sources: Mapping[str, str]
) -> Report:
    """The report of a run that is over."""
    pictures = None if label_errors is None else [picture_of(data, error) for error in label_errors[:MAX_PICTURES]]
    return replace(
        report,
        facts=facts(data, trained.settings, sources),
        history=trained.history,
        metrics=trained.metrics,
        bins=calibration_bins(trained.predictions.probabilities, trained.predictions.labels),
        mistakes=mistakes(data, trained.predictions),
        filters=filters_picture(trained.model),
        label_errors=pictures,
    )


def manifest_of(model_name: str, data: Data, trained: Trained, lineage: dict[str, Any]) -> Manifest:
    return Manifest(
        model=model_name,
        architecture=trained.settings.architecture,
        class_names=data.decoded.class_names,
        input_spec=data.spec,
        metrics={"test": trained.metrics},
        temperature=trained.calibration.temperature,
        scaling=trained.settings.scaling,
        multi_stage=trained.settings.multi_stage,
        mirrored=trained.settings.mirror_answers,
        reference=reference_of(data, trained),
        unusual_above=UNUSUAL if is_enough(data.split) else None,
        drawing=DATA_SETS[data.source].drawing if data.source in DATA_SETS else None,
        lineage=lineage,
    )
