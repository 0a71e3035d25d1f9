"""From real handwriting to answers over HTTP: trained, exported, published, served."""

from pathlib import Path

import pytest
import requests

from models.bundle.manifest import read_golden
from service.engine.loading import TOLERANCE


def test_what_was_trained_is_what_answers(digits_exports: Path, digits_service: str) -> None:
    (version,) = requests.get(f"{digits_service}/models/digits", timeout=30).json()["versions"]
    precision = version["precision"]  # the fastest on this machine
    for data, probabilities in read_golden(digits_exports / "digits" / "1", int8=precision == "int8"):
        answer = requests.post(f"{digits_service}/models/digits/classify", data=data, timeout=30).json()
        (prediction,) = answer["predictions"]
        assert (answer["model"], answer["version"]) == ("digits", 1)
        assert prediction["label"] == str(probabilities.index(max(probabilities)))
        assert prediction["probability"] == pytest.approx(max(probabilities), abs=TOLERANCE[precision])
