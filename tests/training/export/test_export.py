"""The exported bundle answers as the trained network did, whoever runs it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from models.bundle.manifest import GOLDEN, IMAGE, read_golden, verify
from models.bundle.preprocessing import InputSpec, decode_image
from tests.conftest import Training
from tests.images import encode, smooth
from training.evaluate.saved_model import load_signatures
from training.export import export as exporting
from training.export.export import PARITY, WARMUP, ExportFailed, in_fresh_process
from training.export.saved_model import decode_tensor

Signatures = dict[str, Callable[[np.ndarray], np.ndarray]]


@pytest.fixture(scope="module")
def bundle(digits_training: Training) -> Path:
    return digits_training.run / "bundle"


@pytest.fixture(scope="module")
def signatures(bundle: Path) -> Signatures:
    return load_signatures(bundle)


@pytest.fixture(scope="module")
def images(digits_training: Training) -> np.ndarray:
    """64 digits, as the network takes them."""
    paths = sorted((digits_training.cache / "datasets" / "digits").rglob("*.png"))[:: 1797 // 64][:64]
    return np.stack([decode_image(path.read_bytes(), InputSpec(32, 32, 1)) for path in paths])


def test_a_fresh_process_has_compared_the_export_with_the_network(bundle: Path) -> None:
    parity = verify(bundle).metrics["parity"]
    assert parity["num_images"] == 64
    assert parity["max_difference"] <= 1e-4
    assert parity["bytes_max_difference"] <= 0.1


def test_the_bundle_is_sealed_and_has_what_its_layout_promises(bundle: Path) -> None:
    files = verify(bundle).files
    names = ("MODEL_CARD.md", "labels.txt", "report.html", "tf_serving_warmup_requests")
    extra = [f"assets.extra/{name}" for name in names]
    assert {"saved_model.pb", "variables/variables.index", *extra} <= files.keys()
    assert sum(name.startswith(GOLDEN.as_posix()) for name in files) == 10 + 1


def test_both_signatures_give_probabilities(signatures: Signatures, images: np.ndarray) -> None:
    assert signatures.keys() >= {"serving_default", "serving_bytes"}
    probabilities = signatures["serving_default"](images)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (64, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_the_order_and_size_of_a_batch_change_no_answer(signatures: Signatures, images: np.ndarray) -> None:
    together = signatures["serving_default"](images)
    np.testing.assert_allclose(signatures["serving_default"](images[::-1]), together[::-1], atol=1e-5)
    np.testing.assert_allclose(signatures["serving_default"](images[7:8]), together[7:8], atol=1e-5)


def test_openvino_reads_the_same_model_and_gives_the_same_answers(
    bundle: Path, signatures: Signatures, images: np.ndarray
) -> None:
    compiled = openvino.Core().compile_model(bundle, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = compiled({"images": images})["probabilities"]
    np.testing.assert_allclose(got, signatures["serving_default"](images), atol=1e-4)


def test_golden_images_get_their_answers(bundle: Path, signatures: Signatures) -> None:
    golden = read_golden(bundle)
    batch = np.stack([decode_image(data, InputSpec(32, 32, 1)) for data, _ in golden])
    expected = np.array([row for _, row in golden])
    np.testing.assert_allclose(signatures["serving_default"](batch), expected, atol=1e-4)
    assert len(golden) == 10


def test_encoded_images_can_be_sent_to_the_model_itself(bundle: Path, signatures: Signatures) -> None:
    golden = read_golden(bundle)
    got = signatures["serving_bytes"](np.array([data for data, _ in golden], object))
    np.testing.assert_allclose(got, [row for _, row in golden], atol=0.1)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(40, 60), (64, 48), (32, 24), (300, 200)])
@pytest.mark.parametrize("channels", [1, 3])
def test_tensorflows_decoder_says_nearly_what_ours_says(size: tuple[int, int], resize: str, channels: int) -> None:
    data, spec = encode(smooth(*size)), InputSpec(32, 24, channels, resize)
    got = decode_tensor(tf.constant(data), spec).numpy()
    assert got.shape == spec.shape
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - decode_image(data, spec)).mean() < 3


def fields(message: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a protobuf message; there are no others in these."""
    found, at = {}, 0
    while at < len(message):
        tag, at = varint(message, at)
        assert tag & 7 == 2, "not length-delimited"
        length, at = varint(message, at)
        assert at + length <= len(message)
        found[tag >> 3], at = message[at : at + length], at + length
    return found


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not message[at - 1] & 0x80:
            return value, at


def test_the_warm_up_request_is_one_that_tensorflow_serving_can_read(bundle: Path, signatures: Signatures) -> None:
    """PredictionLog.predict_log is 6, .request 1; PredictRequest.model_spec 1, .inputs 2 (key 1, value 2)."""
    (record,) = tf.data.TFRecordDataset(str(bundle / WARMUP)).as_numpy_iterator()
    request = fields(fields(fields(record)[6])[1])
    assert fields(request[1]) == {1: b"digits", 3: b"serving_default"}
    entry = fields(request[2])
    assert entry[1] == b"images"
    image = tf.make_ndarray(TensorProto.FromString(entry[2]))
    assert image.dtype == np.uint8
    assert signatures["serving_default"](image).shape == (1, 10)


def test_nothing_that_export_needed_is_left_in_the_run(digits_training: Training) -> None:
    assert not list(digits_training.run.glob("*export*"))
    assert not list(digits_training.run.glob("answers*"))
    assert not (digits_training.run / PARITY).exists()


def test_a_process_that_fails_is_told_with_its_last_line_and_its_log(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"training\.nothing failed: .*No module named .*export\.log"):
        in_fresh_process("training.nothing", tmp_path)
    assert "No module named training.nothing" in (tmp_path / "export.log").read_text()


def test_an_export_that_answers_otherwise_is_not_sealed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network:
        def save_weights(self, path: Path) -> None:
            path.touch()

    def fail_parity(module: str, run: Path) -> None:
        if module == "training.export.parity":
            raise ExportFailed("it answers otherwise")
        shutil.copy(bundle / "saved_model.pb", run / "bundle")

    monkeypatch.setattr(exporting, "in_fresh_process", fail_parity)
    golden = [data for data, _ in read_golden(bundle)]
    with pytest.raises(ExportFailed, match="it answers otherwise"):
        exporting.export(
            tmp_path,
            model=Network(),
            classify=lambda images: np.full((len(images), 10), 0.1),
            manifest=verify(bundle),
            golden=golden,
            checked=np.zeros((1, 32, 32, 1), np.uint8),
            images=np.empty(0, IMAGE),
        )
    assert not (tmp_path / "bundle" / "assets.extra" / "manifest.json").exists()
    assert json.loads((tmp_path / "bundle" / GOLDEN / "probabilities.json").read_text())[0]["file"] == "0"
