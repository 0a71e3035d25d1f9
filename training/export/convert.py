"""A bundle as one file of ONNX or LiteRT, for programs and devices that run no SavedModel.

The file has the input and the output of the bundle's signature `serving_default`: `images`, uint8 (N, H, W, C), and
`probabilities`, float32 (N, num_classes). It gets its name only if it answers as the SavedModel does. A file beside it
says how images become that input, and what the classes are called.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.bundle.manifest import MANIFEST, Manifest, read_golden, verify
from models.bundle.preprocessing import decode_image
from models.errors import Failed, UserError
from models.files.durable import replacing, sha256, write_durably
from models.process.quiet import native_stderr_closed
from training.evaluate.saved_model import load_signatures

TOLERANCE = 1e-3  # of a probability
NUM_MIXED = 16  # images beside the golden ones on which answers are compared
OPSET = "18"  # of ONNX, which ONNX Runtime 1.14 (2023) and later read
SIGNATURE = "serving_default"

Answer = Callable[[np.ndarray], np.ndarray]  # uint8 (N, H, W, C) -> float32 (N, num_classes)


class Format(NamedTuple):
    """
    Attributes:
        suffix: of the file's name.
        packages: what is imported to make and to run it.
        write: makes the file of a bundle.
        load: the file as a function.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[Path, Path], None]
    load: Callable[[Path], Answer]


class Converted(NamedTuple):
    """
    Attributes:
        difference: the largest, between a probability of the file and the SavedModel's.
        num_images: on how many it was looked for.
        about: the file that describes input and classes.
    """

    difference: float
    num_images: int
    about: Path


def convert(bundle: Path, kind: str, target: Path) -> Converted:
    """Write a bundle as `target` in the format `kind` of FORMATS.

    Raises:
        BrokenBundle: the bundle does not verify.
        ConversionFailed: it has an operation that the format lacks, or the file answers otherwise.
        ModuleNotFoundError: a package of the format is not installed.
        UserError: the target exists.
    """
    manifest, chosen = verify(bundle), FORMATS[kind]
    if target.exists():
        raise UserError(f"{target} is there already; delete it, or choose another --output.")
    for package in chosen.packages:
        import_module(package)
    images = images_to_compare(bundle, manifest)
    expected = load_signatures(bundle)[SIGNATURE](images)
    with replacing(target) as made:
        chosen.write(bundle, made)
        difference = float(np.abs(chosen.load(made)(images) - expected).max())
        if not difference <= TOLERANCE:
            raise ConversionFailed(
                f"The file answers otherwise than {bundle}: a probability differs by {difference:.2g}, and at most "
                f"{TOLERANCE:g} is allowed. Nothing was written."
            )
    about = target.with_name(f"{target.name}.json")
    write_durably(about, json.dumps(description(bundle, manifest), indent=2, ensure_ascii=False) + "\n")
    return Converted(difference, len(images), about)


class ConversionFailed(Failed):
    """A bundle could not be written in a format, or the file answers otherwise."""


def images_to_compare(bundle: Path, manifest: Manifest) -> np.ndarray:
    """uint8 (N, H, W, C): the golden images, and mixtures of them, which are of no class."""
    golden = np.stack([decode_image(data, manifest.input_spec) for data, _ in read_golden(bundle)])
    generator = np.random.default_rng(0)
    first, second = (golden[generator.integers(len(golden), size=NUM_MIXED)] for _ in range(2))
    share = generator.random((NUM_MIXED, 1, 1, 1))
    return np.concatenate([golden, np.rint(share * first + (1 - share) * second[:, ::-1]).astype(np.uint8)])


def description(bundle: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "model": manifest.model,
        "class_names": manifest.class_names,
        "task": manifest.task,
        **({"threshold": manifest.threshold} if manifest.task == "multi_label" else {}),
        "input": {"name": "images", "dtype": "uint8", "layout": "NHWC", **manifest.input_spec.to_json()},
        "output": {"name": "probabilities", "dtype": "float32"},
        "bundle_sha256": sha256(bundle / MANIFEST),
    }


def write_onnx(bundle: Path, target: Path) -> None:
    """By tf2onnx, in a process of its own: it logs to both streams, and keeps what it has loaded."""
    command = [sys.executable, "-P", "-W", "ignore", "-m", "tf2onnx.convert", "--saved-model", str(bundle)]
    command += ["--signature_def", SIGNATURE, "--opset", OPSET, "--output", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConversionFailed(f"tf2onnx cannot convert {bundle}: {last}")


def load_onnx(path: Path) -> Answer:
    """By OpenVINO: ONNX Runtime would write an identifier and a file of events into the home folder."""
    import openvino
    import openvino.properties.hint as hints

    compiled = openvino.Core().compile_model(str(path), "CPU", {hints.inference_precision: openvino.Type.f32})
    return lambda images: np.array(compiled({"images": images})["probabilities"])


def write_litert(bundle: Path, target: Path) -> None:
    import tensorflow as tf

    try:
        with native_stderr_closed():
            converter = tf.lite.TFLiteConverter.from_saved_model(str(bundle), signature_keys=[SIGNATURE])
            target.write_bytes(converter.convert())
    except Exception as error:  # of several kinds, by what the converter lacks
        raise ConversionFailed(f"TensorFlow's converter cannot convert {bundle}: {str(error)[:300]}") from error


def load_litert(path: Path) -> Answer:
    from ai_edge_litert.interpreter import Interpreter

    with native_stderr_closed():
        runner = Interpreter(model_path=str(path)).get_signature_runner(SIGNATURE)
    return lambda images: runner(images=images)["probabilities"]


FORMATS = {
    "onnx": Format(".onnx", ("tf2onnx", "openvino"), write_onnx, load_onnx),
    "litert": Format(".tflite", ("ai_edge_litert.interpreter",), write_litert, load_litert),
}
