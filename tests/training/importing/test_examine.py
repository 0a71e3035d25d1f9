"""What a model is, is found out; and the bundle's graph answers as the model does, whatever it came as."""

import json
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from models.bundle.manifest import IMPORTED, Manifest
from models.bundle.preprocessing import InputSpec
from tests.images import encode
from tests.training.importing.foreign_models import (
    CLASSES,
    SIDE,
    keras_model,
    logits_of,
    saved_model,
    shades,
    tensorflow_1_model,
)
from training.evaluate.saved_model import load_signatures
from training.importing.examine import examine
from training.importing.messages import CHECKED, GRAPH, IMAGE_FILES, ORDER, QUESTION, Found, Order, Question
from training.importing.write import write
from training.preprocessing.outputs import UnknownModel
from training.preprocessing.scalings import PIXEL_SCALINGS

IMAGES, LABELS = shades(24)
IN = tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="pixels")


def found(folder: Path, model: str, **more: object) -> Found:
    (folder / QUESTION).write_text(json.dumps(asdict(Question(model, **more))))  # type: ignore[arg-type]
    return examine(folder)


def answers_of_the_graph(folder: Path, model: str, what: Found, scaling: str = "signed") -> np.ndarray:
    """float (24, num_classes): what the bundle's SavedModel says of IMAGES."""
    names = tuple(f"class {i}" for i in range(what.numbers.num_classes))
    manifest = Manifest("toy", IMPORTED, names, InputSpec(*what.image_shape, "squash"), {})
    order = Order(model, None, scaling, what.output, what.numbers, manifest)
    (folder / ORDER).write_text(json.dumps(asdict(order)))
    np.save(folder / CHECKED, IMAGES)
    write(folder)
    signatures = load_signatures(folder / GRAPH)
    got = signatures["serving_default"](IMAGES)
    encoded = np.array([encode(image) for image in IMAGES], object)
    np.testing.assert_allclose(signatures["serving_bytes"](encoded), got, atol=1e-5)
    return got


EXPECTED = special.softmax(logits_of(IMAGES.astype(np.float32) / 127.5 - 1).numpy(), axis=1)


@pytest.mark.parametrize("activation", ["softmax", None, "sigmoid"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_of_keras_is_imported(tmp_path: Path, suffix: str, activation: str | None) -> None:
    keras_model(activation).save(tmp_path / f"model{suffix}")
    what = found(tmp_path, f"model{suffix}")
    kinds = {"softmax": "probabilities", None: "logits", "sigmoid": "independent probabilities"}
    assert (what.numbers.numbers, what.image_shape, what.hint) == (kinds[activation], (SIDE, SIDE, 3), None)
    got = answers_of_the_graph(tmp_path, f"model{suffix}", what)
    if activation != "sigmoid":
        np.testing.assert_allclose(got, EXPECTED, atol=1e-5)
    else:
        np.testing.assert_allclose(got, special.expit(logits_of(IMAGES.astype(np.float32) / 127.5 - 1)), atol=1e-5)


def in_nchw(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"logits": logits_of(tf.transpose(images, (0, 2, 3, 1)))}


def in_a_batch_of_four(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"scores": tf.nn.softmax(logits_of(images))}


@pytest.mark.parametrize(
    ("call", "shape", "says"),
    [
        (in_nchw, (None, 3, SIDE, SIDE), "NCHW, any batch"),
        (in_a_batch_of_four, (4, SIDE, SIDE, 3), "NHWC, batches of 4"),
        (in_a_batch_of_four, (1, SIDE, SIDE, 3), "NHWC, batches of 1"),
    ],
)
def test_layout_and_batch_are_found_and_the_bundle_takes_any_batch(
    tmp_path: Path, call: object, shape: tuple[int | None, ...], says: str
) -> None:
    saved_model(tmp_path / "model", call, tf.TensorSpec(shape, tf.float32, name="pixels"))  # type: ignore[arg-type]
    what = found(tmp_path, "model")
    assert any(says in line for line in what.description)
    np.testing.assert_allclose(answers_of_the_graph(tmp_path, "model", what), EXPECTED, atol=1e-5)


def test_a_model_of_tensorflow_1_takes_encoded_images_and_names_its_classes(tmp_path: Path) -> None:
    tensorflow_1_model(tmp_path / "model")
    what = found(tmp_path, "model", size=(SIDE, SIDE))
    assert (what.encoded, what.names, what.output) == (True, CLASSES, "scores")
    np.testing.assert_allclose(answers_of_the_graph(tmp_path, "model", what), EXPECTED, atol=1e-5)


def test_one_probability_is_that_of_the_second_of_two_classes(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.GlobalAveragePooling2D()])
    model.add(keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones"))
    model.save(tmp_path / "model.keras")
    what = found(tmp_path, "model.keras")
    assert (what.numbers.numbers, what.numbers.num_classes) == ("one probability", 2)
    got = answers_of_the_graph(tmp_path, "model.keras", what)
    np.testing.assert_allclose(got[:, 1], special.expit(3 * (IMAGES / 127.5 - 1).mean((1, 2, 3))), atol=1e-5)


def test_every_scaling_is_tried_on_labelled_images_and_then_every_resize(tmp_path: Path) -> None:
    keras_model().save(tmp_path / "model.keras")
    (tmp_path / IMAGE_FILES).mkdir()
    for i, image in enumerate(IMAGES):
        (tmp_path / IMAGE_FILES / str(i)).write_bytes(encode(image))
    images = tuple((str(i), CLASSES[label]) for i, label in enumerate(LABELS))
    found(tmp_path, "model.keras", names=CLASSES, images=images)
    with np.load(tmp_path / "answers.npz") as answers:
        assert {f"{name} squash" for name in PIXEL_SCALINGS} <= set(answers)
        assert {"signed squash", "signed crop", "signed pad"} <= set(answers)
        np.testing.assert_array_equal(answers["labels"], LABELS)
        np.testing.assert_allclose(answers["signed squash"], EXPECTED, atol=1e-5)


@pytest.mark.parametrize(
    ("first", "hint"),
    [(keras.layers.Rescaling(1 / 127.5, -1), "none"), (keras.layers.Normalization(mean=0, variance=1), "none")],
)
def test_a_layer_that_scales_is_a_hint(tmp_path: Path, first: keras.layers.Layer, hint: str) -> None:
    images = keras.Input((SIDE, SIDE, 3))
    keras.Model(images, keras_model()(first(images))).save(tmp_path / "model.keras")
    what = found(tmp_path, "model.keras")
    assert what.hint is not None
    assert what.hint[0] == hint


@pytest.mark.parametrize(
    ("network", "hint"),
    [("MobileNetV2", "signed"), ("ResNet50", "caffe"), ("DenseNet121", "imagenet"), ("EfficientNetB0", "none")],
)
def test_networks_of_keras_applications_tell_their_scaling_by_their_names(
    tmp_path: Path, network: str, hint: str
) -> None:
    base = getattr(keras.applications, network)
    if network == "ResNet50":  # whose shape alone is wanted
        inner = keras.Model(*(lambda x: (x, keras.layers.Conv2D(4, 3)(x)))(keras.Input((32, 32, 3))), name="resnet50")
    else:
        inner = base(input_shape=(32, 32, 3), weights=None, include_top=False)
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
    keras.Sequential([keras.Input((32, 32, 3)), inner, *head]).save(tmp_path / "model.keras")
    what = found(tmp_path, "model.keras")
    assert what.hint is not None
    assert what.hint[0] == hint


def test_a_mobilenet_without_its_name_as_teachable_machine_has_it_tells_its_scaling_by_its_layers(
    tmp_path: Path,
) -> None:
    inner = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), weights=None, include_top=False, alpha=0.35, name="m"
    )
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
    keras.Sequential([keras.Sequential([inner, head[0]]), keras.Sequential([head[1]])]).save(tmp_path / "model.h5")
    what = found(tmp_path, "model.h5")
    assert what.hint == ("signed", "MobileNetV2, of which it has the layers, is trained so")


def test_a_model_of_any_size_needs_one(tmp_path: Path) -> None:
    images = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    keras.Model(images, keras.layers.Dense(3)(pooled)).save(tmp_path / "model.keras")
    with pytest.raises(UnknownModel, match="--size HEIGHTxWIDTH"):
        found(tmp_path, "model.keras")
    assert found(tmp_path, "model.keras", size=(24, 32)).image_shape == (24, 32, 3)


def test_a_size_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    keras_model().save(tmp_path / "model.keras")
    with pytest.raises(UnknownModel, match="takes images of 16x16, and --size says 224x224"):
        found(tmp_path, "model.keras", size=(224, 224))


def test_a_signature_that_is_not_there_is_refused_and_the_others_are_shown(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", in_a_batch_of_four, IN, signature="answer")
    assert found(tmp_path, "model").output == "scores"
    with pytest.raises(UnknownModel, match=r"no signature 'predict'. It has answer: pixels: float32 \(\?, 16, 16, 3\)"):
        found(tmp_path, "model", signature="predict")


def masks(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"masks": tf.sigmoid(images)}


def test_a_model_of_masks_is_refused(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", masks, IN)
    with pytest.raises(UnknownModel, match="no classifier of images: it answers with masks: float32"):
        found(tmp_path, "model")


def test_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    one, two = keras.Input((SIDE, SIDE, 3)), keras.Input((4,))
    both = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(one), two])
    keras.Model([one, two], keras.layers.Dense(3)(both)).save(tmp_path / "model.keras")
    with pytest.raises(UnknownModel, match="has 2 inputs; an image classifier has one"):
        found(tmp_path, "model.keras")
