"""A trained network -> a verified bundle, ready to publish.

The caller's process writes what it knows: weights, golden images, expected predictions. `python -m
training.export.saved_model` writes the SavedModel, always on TensorFlow whatever trained the weights. `python -m
training.export.parity` loads it in a process that has never seen the network. The manifest is written last, and only if
the exported model reproduces the trained model's predictions.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import GOLDEN, IMAGES, Manifest, write_manifest
from models.bundle.preprocessing import decode_image
from models.errors import Failed
from models.files.durable import write_array
from models.files.typed import read_json
from models.insight.familiarity import FAMILIARITY
from models.process.children import python_command, python_environment

WEIGHTS = "export.weights.h5"
ANSWERS = "answers.npz"
REQUEST = "export.json"
PARITY = "parity.json"
WARMUP = Path("assets.extra/tf_serving_warmup_requests")


class ExportFailed(Failed):
    """The bundle was not made, or does not answer as the trained network does."""


def export(
    run: Path,
    *,
    model: Any,
    classify: Callable[[np.ndarray], np.ndarray],
    manifest: Manifest,
    golden: Sequence[bytes],
    checked: np.ndarray,
    images: np.ndarray,
    finish: Callable[[Path], dict[str, Any]] = lambda bundle: {},
) -> Path:
    """Write `run/bundle`, check it in fresh processes, seal it; returns its path.

    Args:
        model: the float32 network, whose weights are exported.
        classify: uint8 images (B, H, W, C) -> probabilities (B, num_classes), as the exported model must answer.
        golden: a few encoded images; the answers to them are stored beside them.
        checked: uint8 images (N, H, W, C) for which the exported model must give the same probabilities.
        images: IMAGE (N,): what the network was made with.
        finish: adds to the bundle, once it answers as it must, what is made from it; returns further metrics.

    Raises:
        ExportFailed: writing failed, or the exported model gives other answers.
    """
    bundle = run / "bundle"
    (bundle / GOLDEN).mkdir(parents=True)
    write_array(bundle / IMAGES, images)
    write_golden(bundle, classify, manifest, golden)
    model.save_weights(run / WEIGHTS)
    np.savez(run / ANSWERS, images=checked, probabilities=classify(checked))
    (run / REQUEST).write_text(json.dumps(manifest.to_json(), ensure_ascii=False), encoding="utf-8")
    in_fresh_process("training.export.saved_model", run)
    in_fresh_process("training.export.parity", run)
    parity = read_json(run / PARITY, dict[str, Any])
    metrics = {**manifest.metrics, "parity": parity, **finish(bundle)}
    unusual_above = manifest.unusual_above if (bundle / FAMILIARITY).exists() else None
    write_manifest(bundle, replace(manifest, metrics=metrics, unusual_above=unusual_above))
    for name in (WEIGHTS, ANSWERS, REQUEST, PARITY):
        (run / name).unlink()
    return bundle


def write_golden(
    bundle: Path, classify: Callable[[np.ndarray], np.ndarray], manifest: Manifest, golden: Sequence[bytes]
) -> None:
    probabilities = classify(np.stack([decode_image(data, manifest.input_spec) for data in golden]))
    rows = []
    for i, (data, row) in enumerate(zip(golden, probabilities, strict=True)):
        (bundle / GOLDEN / str(i)).write_bytes(data)
        rows.append({"file": str(i), "probabilities": row.tolist()})
    (bundle / GOLDEN / "probabilities.json").write_text(json.dumps(rows))


def in_fresh_process(module: str, run: Path) -> None:
    environment = python_environment({**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"})
    done = subprocess.run(python_command(module, str(run)), env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        (run / "export.log").write_text(done.stdout + done.stderr)
        raise ExportFailed(f"{module} failed: {last} (all of it: {run / 'export.log'})")
