"""A bundle from somebody's model: looked at, preprocessing found, written around it, checked against its answers."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import Manifest
from models.bundle.operations import check_operations
from models.bundle.preprocessing import Resize
from models.errors import UserError
from models.files.typed import typed
from training.config.settings import Int8
from training.confinement.confinement import run_confined
from training.foreign.sources import Source, copy_model
from training.importing.class_names import check_number, read_class_names
from training.importing.eight_bits import add_int8
from training.importing.images import NO_IMAGES, Images, find_labelled
from training.importing.messages import ANSWERS, IMAGE_FILES, QUESTION, SOURCE, Found, Question
from training.importing.seal import LIMITS, Imported, seal
from training.preprocessing.choice import Preprocessing, choose, without_images

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person said.

    Attributes:
        int8: whether the bundle is to have an 8-bit form, as in training.
        command: as it was typed, for questions.
    """

    model: Path
    name: str
    labels: Path | None = None
    images: Path | None = None
    scaling: str | None = None
    size: tuple[int, int] | None = None
    resize: Resize | None = None
    signature: str | None = None
    int8: Int8 = "auto"
    command: str = "striate import"


def import_model(asked: Asked, run: Path, say: Say) -> Path:
    """Write `run/bundle`; returns its path. A model that is refused leaves no run behind.

    Args:
        run: an empty directory of one's own, in which the model's process may write.
        say: is told what is found, a line at a time.

    Raises:
        UnknownModel, BadClassNames, Unsure, OverLimit, BrokenBundle, UserError: it cannot be imported, or not without
            an answer from a person.
        ExportFailed: the bundle does not answer as the model does.
    """
    try:
        return find_out_and_seal(asked, run, say)
    except (UserError, OSError, KeyboardInterrupt):
        shutil.rmtree(run, ignore_errors=True)
        raise


def find_out_and_seal(asked: Asked, run: Path, say: Say) -> Path:
    (run / SOURCE).mkdir()
    source = copy_model(asked.model, run / SOURCE)
    if source.kind == "saved_model":
        check_operations(source.path)
    labels = asked.labels or source.labels
    names = read_class_names(labels) if labels else ()
    images = find_labelled(asked.images, run / IMAGE_FILES) if asked.images else NO_IMAGES
    found = examine(source, asked, names, images, run, say)
    for line in found.description:
        say(line)
    names = settled_names(names or found.names, found.numbers.num_classes, labels, say)
    chosen, answers, truth = choose_preprocessing(found, asked, run)
    for line in (*chosen.table, chosen.reason):
        say(line)
    imported = Imported(asked.name, asked.model.name, source.path, asked.signature, names, found, chosen, images)

    def int8_of(bundle: Path, manifest: Manifest) -> dict[str, Any]:
        return add_int8(bundle, manifest, asked.images, asked.int8, say)

    return seal(imported, answers, truth, run, say, int8_of)


def examine(source: Source, asked: Asked, names: tuple[str, ...], images: Images, run: Path, say: Say) -> Found:
    """What the model is, found out in a confined process."""
    question = Question(
        source.path.relative_to(run).as_posix(),
        asked.signature,
        asked.size,
        asked.scaling,
        asked.resize,
        names,
        tuple(zip(images.files, images.folders, strict=True)),
    )
    (run / QUESTION).write_text(json.dumps(asdict(question)))
    confined = run_confined("training.importing.examine", [str(run.resolve())], folder=run, **LIMITS)
    if confined.lacks:
        say(f"This system cannot keep the model's process from {', '.join(confined.lacks)}.")
    return typed(confined.answer, Found)


def settled_names(names: tuple[str, ...], num_classes: int, labels: Path | None, say: Say) -> tuple[str, ...]:
    """
    Raises:
        BadClassNames: there are more or fewer names than classes.
    """
    if not names:
        say(f"The model names no classes: they become class 0 to class {num_classes - 1}. --labels FILE names them.")
        return tuple(f"class {i}" for i in range(num_classes))
    check_number(names, num_classes, str(labels or "the model"))
    return names


def choose_preprocessing(
    found: Found, asked: Asked, run: Path
) -> tuple[Preprocessing, np.ndarray | None, np.ndarray | None]:
    """And the model's answers to the images by it, with their labels, where there are images."""
    given: dict[str, Any] = {"scaling": asked.scaling, "resize": asked.resize, "command": asked.command}
    if not (run / ANSWERS).exists():
        return without_images(found.hint, found.encoded, found.image_shape[2], **given), None, None
    with np.load(run / ANSWERS) as file:
        answers = dict(file)
    labels = answers.pop("labels")
    chosen = choose(answers, labels, found.numbers, **given)
    return chosen, answers[chosen.key], labels
