"""Does the bundle answer as somebody's model does? `python -m training.importing.parity RUN`, in a fresh process.

The probabilities must agree as those of a trained network must (`training.export.parity`), and their logarithms, which
are the logits but for a constant of each image, within RELATIVE of the largest.
"""

import json
import sys
from pathlib import Path

import numpy as np

from training.evaluate.saved_model import load_signatures
from training.export.export import ANSWERS, PARITY
from training.export.parity import check

RELATIVE = 1e-4
SMALLEST = 1e-30  # of a probability, below which float32 has no logarithm worth comparing


def relative_difference(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two logarithms, as a fraction of the largest logarithm."""
    counts = np.minimum(got, expected) > SMALLEST
    before, after = np.log(expected[counts]), np.log(got[counts])
    return float(np.abs(after - before).max() / max(np.abs(before).max(), 1.0))


if __name__ == "__main__":
    run = Path(sys.argv[1])
    found = check(run)
    answers = np.load(run / ANSWERS)
    got = load_signatures(run / "bundle")["serving_default"](answers["images"])
    relative = relative_difference(got.astype(np.float64), answers["probabilities"])
    if not relative <= RELATIVE:
        raise ValueError(
            f"its logits differ from the model's by {relative:.3g} of the largest; at most {RELATIVE:g} may be."
        )
    (run / PARITY).write_text(json.dumps({**found, "logits_relative_difference": relative}))
