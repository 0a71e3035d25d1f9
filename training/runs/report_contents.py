"""What the report of a run shows: its facts, its mistakes, and labels that are likely wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.config.layers import BY_DEFAULT
from training.config.settings import Settings
from training.data.dataset import Data
from training.evaluate.label_errors import LabelError
from training.evaluate.predictions import Predictions
from training.report.pictures import Picture
from training.runs.lineage import git_revision, installed_versions, machine

MAX_PICTURES = 60  # of mistakes, and of likely label errors, in the report


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
            f"{predictions.paths[i]} ({confidence[i]:.0%})",
            (predictions.class_names[predictions.labels[i]], predictions.class_names[answers[i]]),
        )
        for i in wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_PICTURES]
    ]


def facts(data: Data, settings: Settings, sources: Mapping[str, str]) -> dict[str, Any]:
    """What the report says of configuration, data and machine.

    Args:
        sources: the layer that each setting comes from, as far as that is known.
    """
    spec, split = data.spec, data.split
    return {
        "data": data.source,
        "fingerprint": data.fingerprint(),
        "images": f"{len(split.train)} trained on, {len(split.val)} to validate, {len(split.test)} to test",
        **({"groups": data.about_groups()} if data.about_groups() else {}),
        "input": f"{spec.height}x{spec.width}x{spec.channels}, {spec.resize}",
        **{
            name.replace("_", " "): with_source(value, sources.get(name, "")) for name, value in settings.flat().items()
        },
        "git revision": git_revision(),
        **machine(),
        **installed_versions(),
    }


def with_source(value: Any, source: str) -> Any:
    """0.1 (recipe vgg-2014); a default alone."""
    shown = f"{value:g}" if isinstance(value, float) else value
    return f"{shown} ({source})" if source not in ("", BY_DEFAULT) else shown
