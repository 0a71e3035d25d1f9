"""The check that stands between a wrong export and everybody who would be answered by it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.bundle.manifest import GOLDEN, read_golden
from models.bundle.preprocessing import InputSpec, decode_image
from tests.conftest import Training
from tests.images import encode, encode_turned
from training.evaluate.saved_model import load_signatures
from training.export import parity
from training.export.export import ANSWERS

SPEC = InputSpec(32, 32, 1)


@pytest.fixture
def run(digits_training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory as it is just before the check; its answers are those to its golden images."""
    bundle = digits_training.run / "bundle"
    shutil.copytree(bundle, tmp_path / "run" / "bundle")
    golden = read_golden(bundle)
    images = np.stack([decode_image(data, SPEC) for data, _ in golden])
    np.savez(tmp_path / "run" / ANSWERS, images=images, probabilities=np.array([row for _, row in golden]))
    return tmp_path / "run"


def answer_otherwise(run: Path, change: float) -> None:
    answers = dict(np.load(run / ANSWERS))
    answers["probabilities"][3, 4] += change
    np.savez(run / ANSWERS, **answers)


def replace_golden(run: Path, *encoded: bytes) -> None:
    """Other golden images, with the probabilities that our decoder and the model give them."""
    images = np.stack([decode_image(data, SPEC) for data in encoded])
    probabilities = load_signatures(run / "bundle")["serving_default"](images)
    for i, data in enumerate(encoded):
        (run / "bundle" / GOLDEN / str(i)).write_bytes(data)
    rows = [{"file": str(i), "probabilities": row.tolist()} for i, row in enumerate(probabilities)]
    (run / "bundle" / GOLDEN / "probabilities.json").write_text(json.dumps(rows))


def digit(run: Path) -> Image.Image:
    """The golden seven, large: turned on its side it is no seven."""
    data, _ = max(read_golden(run / "bundle"), key=lambda row: row[1][7])
    return Image.fromarray(decode_image(data, SPEC)[:, :, 0])


def test_an_export_that_agrees_passes_with_its_differences(run: Path) -> None:
    figures = parity.check(run)
    assert figures["num_images"] == 10
    assert figures["max_difference"] <= 1e-4
    assert figures["bytes_max_difference"] <= 0.1


@pytest.mark.parametrize("change", [0.001, -0.5, float("nan")])
def test_an_export_that_answers_otherwise_fails(run: Path, change: float) -> None:
    answer_otherwise(run, change)
    with pytest.raises(ValueError, match=r"serving_default differs from the trained network by .* at most 0.0001"):
        parity.check(run)


def test_encoded_images_that_are_answered_otherwise_fail(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures = load_signatures(run / "bundle")
    backwards = {**signatures, "serving_bytes": lambda encoded: signatures["serving_bytes"](encoded)[:, ::-1]}
    monkeypatch.setattr(parity, "load_signatures", lambda bundle: backwards)
    with pytest.raises(ValueError, match="serving_bytes differs"):
        parity.check(run)


def test_an_image_that_tensorflow_cannot_decode_does_not_fail_the_export(run: Path) -> None:
    replace_golden(run, encode(digit(run), "WEBP", lossless=True))
    parity.check(run)


def test_a_photograph_taken_upright_does_not_fail_the_export(run: Path) -> None:
    """TensorFlow knows no EXIF orientation; hours of training were lost to the first phone's picture."""
    replace_golden(run, encode_turned(np.asarray(digit(run)), 6, "JPEG", quality=95))
    parity.check(run)


def test_a_transparent_image_does_not_fail_the_export(run: Path) -> None:
    """TensorFlow drops transparency, where we lay it over white."""
    seven = digit(run)
    drawing = Image.merge("LA", (Image.new("L", seven.size, "black"), seven.point(lambda level: 255 - level)))
    assert not (np.asarray(drawing)[:, :, 0]).any()
    replace_golden(run, encode(drawing))
    parity.check(run)
