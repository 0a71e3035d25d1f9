"""What makes a model tells `benchmarks.imports`: files of one folder.

FOLDER/made.json       `Made`
FOLDER/pictures/       labelled pictures, a folder for each class that the model sees in them
FOLDER/kinds.txt       the names of all its classes, in its order
FOLDER/checked.npz     `images` uint8 (N, H, W, 3), and the probabilities of the model itself: `right` float64 (N, K),
                       and `wrong`, with its pixels scaled otherwise
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.others.pictures import KINDS, pictures, write_pictures
from training.preprocessing.scalings import pixel_scaling

MADE, PICTURES, NAMES, CHECKED = "made.json", "pictures", "kinds.txt", "checked.npz"
WITH_PICTURES = ("--images", f"{{}}/{PICTURES}", "--labels", f"{{}}/{NAMES}")  # flags, with {} for the folder
NUM_LABELLED, NUM_CHECKED = 40, 32
OTHER = {"none": "none-bgr", "signed": "imagenet", "imagenet": "signed", "caffe": "none-bgr", "unit": "signed"}
Answer = Callable[[np.ndarray], np.ndarray]  # float32 pixels (B, H, W, 3), scaled -> probabilities (B, K)


@dataclass(frozen=True, slots=True)
class Form:
    """
    Attributes:
        path: relative to the folder.
        flags: of `import`, with {} for the folder.
    """

    path: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """
    Attributes:
        forms: what was saved, by the name of the form.
        failed: why a form could not be saved, by its name.
        scaling: the right one; "" where nothing was answered.
        classes: how many the model gives to the pictures that are compared.
    """

    forms: dict[str, Form]
    failed: dict[str, str]
    scaling: str = ""
    classes: int = 0


def write_answers(folder: Path, side: int, scaling: str, answer: Answer) -> tuple[str, int]:
    """Labelled pictures, and the answers to others; returns the scaling, and how many classes they were given.

    The labels are the model's own answers: a trained one would give the right ones to most.
    """

    def answers(images: np.ndarray, name: str) -> np.ndarray:
        return answer(pixel_scaling(name, 3)(images.astype(np.float32))).astype(np.float64)

    labelled, _ = pictures(NUM_LABELLED, side, seed=2)
    write_pictures(labelled, answers(labelled, scaling).argmax(axis=1), folder / PICTURES)
    (folder / NAMES).write_text("".join(f"{kind}\n" for kind in KINDS))
    images, _ = pictures(NUM_CHECKED, side, seed=3)
    right, wrong = answers(images, scaling), answers(images, OTHER[scaling])
    np.savez(folder / CHECKED, images=images, right=right, wrong=wrong)
    return scaling, len(set(right.argmax(axis=1)))


def save(model: Any, folder: Path, saved: Mapping[str, tuple[str, Callable[[Any, Path], None]]], answers: Any) -> Made:
    """Save a model in forms, each with its file and what writes that.

    A file of Keras must tell its scaling itself; a SavedModel has pictures to be tried on.

    Args:
        answers: what `write_answers` returned.
    """
    forms, failed = {}, {}
    for form, (file, write) in saved.items():
        try:
            write(model, folder / file)
        except Exception as error:  # whatever a library says to a network that it cannot save so
            failed[form] = (str(error).strip().splitlines() or [type(error).__name__])[0]
            continue
        forms[form] = Form(file, WITH_PICTURES if (folder / file).is_dir() else ())
    return Made(forms, failed, *answers)


def write_made(made: Made, folder: Path) -> None:
    (folder / MADE).write_text(json.dumps(asdict(made)))
