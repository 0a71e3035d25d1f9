"""Does the exported model answer as the trained network did? `python -m training.parity RUN` asks, without Keras.

Raises in the process that runs it, and so fails the export, unless `serving_default` agrees within TOLERANCE and
`serving_bytes`, whose decoder is TensorFlow's, within BYTES_TOLERANCE on the golden images that it can read.
"""

import json
import sys
from pathlib import Path

import numpy as np

from models.bundle import GOLDEN
from training.export import ANSWERS, PARITY
from training.saved_model import load_signatures

TOLERANCE = 1e-4  # in probability; float32 against float32, only the order of additions differs
BYTES_TOLERANCE = 0.1  # another decoder and another resize: a guard against gross mistakes
BYTES_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")  # what tf.io.decode_image reads


def check(run: Path) -> dict[str, float | int]:
    """The largest differences in probability, by signature.

    Raises:
        ValueError: one is too large, or an answer is not finite.
    """
    signatures = load_signatures(run / "bundle")
    answers = np.load(run / ANSWERS)
    got = signatures["serving_default"](answers["images"])
    difference = largest_difference(got, answers["probabilities"], TOLERANCE, "serving_default")
    golden = run / "bundle" / GOLDEN
    rows = json.loads((golden / "probabilities.json").read_text())
    encoded = [((golden / row["file"]).read_bytes(), row["probabilities"]) for row in rows]
    readable = [(data, expected) for data, expected in encoded if data.startswith(BYTES_MAGIC)]
    figures: dict[str, float | int] = {"num_images": len(got), "max_difference": difference}
    if readable:
        got = signatures["serving_bytes"](np.array([data for data, _ in readable], object))
        expected = np.array([row for _, row in readable])
        figures["bytes_max_difference"] = largest_difference(got, expected, BYTES_TOLERANCE, "serving_bytes")
    return figures


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
