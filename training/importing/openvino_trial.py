"""Does OpenVINO give a bundle's answers? `python -m training.importing.openvino_trial RUN` ends with 0 if it does."""

import sys
from pathlib import Path

import numpy as np

from training.export.export import ANSWERS

TOLERANCE = 1e-4  # in probability, as the service allows in float32


def largest_difference(run: Path) -> float:
    """Between OpenVINO's probabilities in float32 and those of the model, on images that were answered by both."""
    import openvino

    answers = np.load(run / ANSWERS)
    compiled = openvino.Core().compile_model(run / "bundle", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    got = np.concatenate([request.infer({"images": image[None]})["probabilities"] for image in answers["images"]])
    return float(np.abs(got - answers["probabilities"]).max())


if __name__ == "__main__":
    difference = largest_difference(Path(sys.argv[1]))
    if not difference <= TOLERANCE:
        sys.exit(f"its probabilities differ by {difference:.3g}, and at most {TOLERANCE:g} is allowed.")
