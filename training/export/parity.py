"""Does the exported model predict as the trained network did? `python -m training.export.parity RUN`, without Keras.

Raises in the process that runs it, and so fails the export, unless both signatures agree within TOLERANCE.
`serving_bytes` gets PNGs of the right size, since it may decode photographs otherwise (`decode_tensor`).
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from training.evaluate.saved_model import load_signatures
from training.export.export import ANSWERS, PARITY

TOLERANCE = 1e-4  # in probability; float32 against float32, only the order of additions differs
NUM_ENCODED = 8  # images on which `serving_bytes` must agree


def check(run: Path) -> dict[str, float | int]:
    """The largest differences in probability, by signature.

    Raises:
        ValueError: one is too large, or an answer is not finite.
    """
    signatures = load_signatures(run / "bundle")
    answers = np.load(run / ANSWERS)
    got = signatures["serving_default"](answers["images"])
    difference = largest_difference(got, answers["probabilities"], TOLERANCE, "serving_default")
    encoded = np.array([encode(image) for image in answers["images"][:NUM_ENCODED]], object)
    got_bytes = signatures["serving_bytes"](encoded)
    expected = answers["probabilities"][:NUM_ENCODED]
    return {
        "num_images": len(got),
        "max_difference": difference,
        "bytes_max_difference": largest_difference(got_bytes, expected, TOLERANCE, "serving_bytes"),
    }


def encode(image: np.ndarray) -> bytes:
    """uint8 (H, W, C) -> PNG, which every decoder reads alike, and of the right size, so that none resizes."""
    png = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(png, "PNG")
    return png.getvalue()


def largest_difference(got: np.ndarray, expected: np.ndarray, tolerance: float, signature: str) -> float:
    difference = float(np.abs(got - expected).max())
    if not difference <= tolerance:  # not a number is not equal either
        raise ValueError(
            f"{signature} differs from the trained network by {difference:.3g} in probability; "
            f"at most {tolerance:g} is allowed."
        )
    return difference


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / PARITY).write_text(json.dumps(check(target)))
