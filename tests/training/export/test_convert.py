"""ONNX and LiteRT files of a bundle: programs that others wrote give the bundle's answers from them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner, Result
from onnx.reference import ReferenceEvaluator

from models.bundle.manifest import read_golden
from models.bundle.preprocessing import InputSpec, decode_image
from tests.conftest import Training
from training.cli.app import main
from training.export import convert


def striate_export(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def answers(path: Path, images: np.ndarray) -> np.ndarray:
    if path.suffix == ".onnx":
        found: np.ndarray = ReferenceEvaluator(str(path)).run(None, {"images": images})[0]
        return found
    return Interpreter(model_path=str(path)).get_signature_runner()(images=images)["probabilities"]


@pytest.mark.parametrize(("kind", "suffix"), [("onnx", ".onnx"), ("litert", ".tflite")])
def test_the_file_answers_as_the_bundle_does(kind: str, suffix: str, digits_training: Training, tmp_path: Path) -> None:
    """In batches of any size, with the decoded image as its input."""
    target = tmp_path / "new" / f"digits{suffix}"
    said = striate_export(digits_training.run, "--format", kind, "-o", target)
    assert said.exit_code == 0, said.output
    assert f"{target}: 0." in said.output
    about = json.loads(target.with_name(f"digits{suffix}.json").read_text())
    assert (about["model"], about["class_names"]) == ("digits", [str(digit) for digit in range(10)])
    spec = InputSpec(*(about["input"][key] for key in ("height", "width", "channels", "resize")))
    golden = list(read_golden(digits_training.run / "bundle"))
    images = np.stack([decode_image(data, spec) for data, _ in golden])
    np.testing.assert_allclose(answers(target, images), [row for _, row in golden], atol=1e-4)
    np.testing.assert_allclose(answers(target, images[:1]), [golden[0][1]], atol=1e-4)


def test_a_file_that_answers_otherwise_is_not_kept(
    digits_training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = convert.FORMATS["litert"]

    def wrong(path: Path) -> convert.Answer:
        return lambda images: true.load(path)(images) * 0.9

    monkeypatch.setitem(convert.FORMATS, "litert", true._replace(load=wrong))
    with pytest.raises(convert.ConversionFailed, match=r"differs by 0\.\d+, and at most 0.001 is allowed"):
        convert.convert(digits_training.run / "bundle", "litert", tmp_path / "digits.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_overwritten(digits_training: Training, tmp_path: Path) -> None:
    target = tmp_path / "digits.onnx"
    target.write_text("mine")
    said = striate_export(digits_training.run, "--format", "onnx", "-o", target)
    assert (said.exit_code, target.read_text()) == (1, "mine")
    assert "is there already; delete it, or choose another --output" in said.output


def test_a_format_whose_packages_are_not_installed_says_which_extra_brings_them(
    digits_training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    said = striate_export(digits_training.run, "--format", "onnx", "-o", tmp_path / "digits.onnx")
    assert said.output == "Error: This needs tf2onnx, which is not installed here: pip install 'striate[onnx]'.\n"


def test_what_a_converter_cannot_write_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(convert.ConversionFailed, match="tf2onnx cannot convert"):
        convert.write_onnx(tmp_path, tmp_path / "x.onnx")
    with pytest.raises(convert.ConversionFailed, match="TensorFlow's converter cannot convert"):
        convert.write_litert(tmp_path, tmp_path / "x.tflite")
