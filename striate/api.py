"""Striate from Python: what `striate train` does, and a bundle that answers in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from models.bundle.preprocessing import InputSpec, decode_image
from models.errors import Failed, UserError
from models.store.history import find_bundle
from service.engine.loading import Loaded
from service.engine.loading import load as load_engine
from service.machine import choose_engine

BATCH_SIZE = 32
Picture = str | Path | bytes | Image.Image | np.ndarray
"""An image: the path of a file, the bytes of one, an image of Pillow, or uint8 (H, W), (H, W, 1) or (H, W, 3)."""


class NotPublished(Failed):
    """A model failed the check before publishing: it has not learnt anything, or the live version is better."""


class Prediction(NamedTuple):
    """A class and its probability, from 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Classification:
    """What a model answers for one image.

    Attributes:
        labels: the most probable class; of a model with several labels an image, all that reach its threshold, which
            may be none.
        top: the most probable classes with their probabilities, the most probable first.
    """

    labels: tuple[str, ...]
    top: tuple[Prediction, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable class, from 0 to 1."""
        return self.top[0].probability


class Classifier:
    """A bundle that is loaded. It answers as the service does: the same decoder, the same engine."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._spec = loaded.manifest.input_spec

    def __repr__(self) -> str:
        return f"<Classifier {self.model}: {', '.join(self.class_names[:5])}{', ...' if self.class_names[5:] else ''}>"

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._loaded.manifest.model

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self._loaded.manifest.class_names

    def classify(self, image: Picture, *, top_k: int = 5) -> Classification:
        """Classify one image.

        Args:
            image: the path of a file, the bytes of one, a Pillow image, or a uint8 array (H, W), (H, W, 1) or
                (H, W, 3).
            top_k: how many classes `top` has.

        Raises:
            UserError: it cannot be decoded; the message says why.
        """
        return self.classify_all([image], top_k=top_k)[0]

    def classify_all(self, images: Iterable[Picture], *, top_k: int = 5) -> list[Classification]:
        """Classify images, in their order.

        Args:
            images, top_k: as of `classify`.

        Raises:
            UserError: one of them cannot be decoded; the message says which and why.
        """
        return [self._described(row, top_k) for row in self.probabilities(images)]

    def probabilities(self, images: Iterable[Picture]) -> np.ndarray:
        """Float32 (N, num_classes), in the order of `class_names`.

        Raises:
            UserError: an image cannot be decoded; the message says which and why.
        """
        decoded = [decode(image, self._spec, number) for number, image in enumerate(images)]
        batches = [np.stack(decoded[i : i + BATCH_SIZE]) for i in range(0, len(decoded), BATCH_SIZE)]
        answers = [self._loaded.backend.infer(batch) for batch in batches]
        return np.concatenate(answers) if answers else np.empty((0, len(self.class_names)), np.float32)

    def _described(self, row: np.ndarray, top_k: int) -> Classification:
        order = np.argsort(-row, kind="stable")
        top = tuple(Prediction(self.class_names[i], float(row[i])) for i in order[: max(1, top_k)])
        manifest = self._loaded.manifest
        if manifest.task == "single_label":
            return Classification((top[0].label,), top)
        labels = tuple(self.class_names[i] for i in order if row[i] >= manifest.threshold)
        return Classification(labels, top)


def load(bundle: str | Path, *, engine: str = "auto", precision: str = "auto") -> Classifier:
    """Load a bundle, such as `exports/pets/3`, or the bundle of a run, such as `runs/pets-20261126-101500`.

    Args:
        engine: `openvino`, `tensorflow`, or `auto`: TensorFlow where there is an NVIDIA GPU, else OpenVINO.
        precision: `float32`, `bfloat16`, `float16`, `int8`, or `auto`: the fastest that gives the bundle's golden
            images (images whose predictions are stored in it) the predictions of the trained network.

    Raises:
        UserError: there is no bundle, it is damaged, or this machine cannot compute it in this way.
    """
    chosen, _ = choose_engine(engine)
    return Classifier(load_engine(find_bundle(Path(bundle)), chosen, precision, BATCH_SIZE, measured=False))


def decode(image: Picture, spec: InputSpec, number: int) -> np.ndarray:
    """The decoder's uint8 (H, W, C) of whatever an image is given as."""
    try:
        return decode_image(encoded(image), spec)
    except (UserError, OSError, TypeError, ValueError) as error:
        name = image if isinstance(image, str | Path) else f"Image {number}"
        raise UserError(f"{name}: {error}") from error


def encoded(image: Picture) -> bytes:
    """The bytes of an image file; what is no file yet becomes a PNG, which loses nothing."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise UserError(f"An array of {image.dtype} is no image; give uint8 with values from 0 to 255.")
        image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    if not isinstance(image, Image.Image):
        raise UserError(f"{type(image).__name__} is no image; give a path, bytes, a Pillow image or a uint8 array.")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Run:
    """A run of training that is over.

    Attributes:
        folder: where the report (`report.html`), the bundle and all else of it lies.
        version: of the published model; None where it was not published.
    """

    folder: Path
    version: int | None

    @property
    def bundle(self) -> Path:
        """The folder of the bundle."""
        return self.folder / "bundle"

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics on the test images: `accuracy`, `expected_calibration_error` and so on."""
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        return found

    def load(self) -> Classifier:
        """The classifier of this run."""
        return load(self.bundle)


def train(
    data: str | Path,
    name: str,
    *,
    start: str | Path | None = None,
    publish: bool = False,
    runs: str | Path = "runs",
    exports: str | Path = "exports",
    cache: str | Path = ".cache",
    **settings: Any,
) -> Run:
    """Train a classifier and export it, as `striate train` does. A run that was interrupted is continued.

    Args:
        data: a folder with a folder of images for each class, a zip or tar file of such folders, or a named data set.
        name: name of the model: a-z, 0-9, - and _.
        start: what `--from` takes: a bundle, a run, a pretrained network, or `scratch`.
        publish: publish the model and make it live, if it passes the check. `striate publish RUN --force` does
            without the check.
        settings: any other flag of `striate train`, with underscores: `epochs=30`, `learning_rate=0.01`, `flip=False`.

    Raises:
        UserError: something that was given is wrong, or training or the export failed; the message says which.
        NotPublished: the model was trained, and failed the check.
    """
    from click import ClickException

    from training.cli.fit import fit
    from training.promotion.publish_check import publish_checked
    from training.promotion.publishing import publish_once

    places = {"runs": runs, "exports": exports, "cache": cache, "from": start}
    try:
        folder = fit.main(
            ["--data", str(data), "--name", name, *flags_of({**places, **settings})],
            prog_name="striate train",
            standalone_mode=False,
        )
    except ClickException as error:
        raise UserError(error.format_message()) from error
    if folder is None:
        raise UserError("dry_run and distributed are for the command: striate train.")
    if not publish:
        return Run(folder, None)
    version, refusal = publish_checked(folder / "bundle", Path(exports), publish_once, force=False)
    if refusal:
        raise NotPublished(f"{refusal} The run is in {folder}.")
    return Run(folder, version)


def flags_of(settings: dict[str, Any]) -> Sequence[str]:
    """`epochs=30` as --epochs 30, `flip=False` as --no-flip, a list as a flag for each; None is left out."""
    flags: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            for one in value if isinstance(value, list | tuple) else [value]:
                flags += [f"--{flag}", str(one)]
    return flags
