"""Every network trains out of the box, and its export answers as it does, to OpenVINO and to TensorFlow.

All of them take half an hour, so `make test` tries one of most families, and exports those of them that are trained
soon; `.ci/run` tries all, and exports those that are not just deeper than another one (tests/needs.py).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import openvino
import pytest

from models.bundle.manifest import GOLDEN, Manifest
from models.bundle.preprocessing import InputSpec
from models.networks.layers import LARGEST_SMALL_IMAGE
from models.networks.registry import ARCHITECTURES
from models.networks.summary import outline
from tests.needs import DEEP, LONG
from tests.training.decoded import decoded_images, halves_and_quarters
from training.config.settings import Settings, settings_for
from training.data.decoded import DecodedImages
from training.evaluate.calibration import softmax
from training.evaluate.saved_model import load_signatures
from training.export.export import REQUEST, WEIGHTS
from training.export.saved_model import write_saved_model
from training.fit.checkpoint import load_weights
from training.fit.fit import Trained, fit
from training.fit.loop import WEIGHTS as BEST
from training.fit.options import FitOptions
from training.network.build import build_for, compile_for, trainable
from training.network.bundle_weights import assign_variables
from training.network.losses import CrossEntropy, loss_for

ONE_OF_MOST_FAMILIES = {"lenet5_1998", "alexnet_2012", "nin", "googlenet", "resnet20", "residual_net"}
SOON_TRAINED = ONE_OF_MOST_FAMILIES - {"alexnet_2012", "googlenet", "residual_net"}
DEEPER = {"resnet32", "resnet44", "resnet56", "resnet110", "resnet34", "resnet101", "resnet152"}
DEEPER |= {"resnet50_v1", "resnet101_v1", "resnet152_v1"}
DEEPER |= {"vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn"}
DEEPER |= {f"efficientnet_lite{i}" for i in range(1, 5)}
FEW_EPOCHS, EPOCHS = 5, 8  # few are enough for these


def every_network(usual: set[str], deeper: set[str] = frozenset()) -> pytest.MarkDecorator:
    """
    Args:
        usual: those that `make test` tries.
        deeper: those that even `.ci/run` leaves out.
    """
    marks = {name: () if name in usual else DEEP if name in deeper else LONG for name in ARCHITECTURES}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in marks.items()])


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """Free a network before the next."""
    yield
    keras.backend.clear_session()


def two_classes(name: str, count: int = 128, *, side: int = 0) -> DecodedImages:
    """Images that are darker or lighter, at about the smallest input of a network unless said."""
    network = ARCHITECTURES[name]
    side = side or max(32 if network.depthwise else 16, network.smallest)  # at 16 their five strides leave nothing
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 100, (count, side, side, 3), dtype=np.uint8)
    return decoded_images(noise + (120 * labels[:, None, None, None]).astype(np.uint8), labels)


def default_settings(name: str) -> Settings:
    """The default recipe, but shorter."""
    epochs = FEW_EPOCHS if name in ONE_OF_MOST_FAMILIES else EPOCHS
    return settings_for(ARCHITECTURES[name], epochs=epochs, batch_size=8, precision="float32")


@every_network(ONE_OF_MOST_FAMILIES, DEEPER)
def test_one_step_of_training_lowers_the_loss(name: str) -> None:
    decoded = two_classes(name, 8)
    settings = replace(
        default_settings(name),
        dropout=0.0,
        weight_decay=0.0,
        clip_norm=1.0,
        learning_rate=1e-4,
        schedule="steps",
        drop_at=(0.9,),
    )
    model = trainable(decoded, settings, "float32")
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # of auxiliary heads, whose rate is no setting; chance would decide which loss is lower
    compile_for(model, settings, loss_for(settings, decoded.labels, 2), num_steps=100, steps_per_epoch=1)
    model.run_eagerly = True
    before, after = (float(model.train_on_batch(decoded.images, decoded.labels)[0]) for _ in range(2))
    assert after < before


@every_network(SOON_TRAINED, DEEPER)
def test_a_network_learns_what_is_easy_and_its_export_answers_alike_everywhere(name: str, tmp_path: Path) -> None:
    decoded = two_classes(name)
    trained = learns_and_answers_alike(name, decoded, tmp_path)
    if name == "googlenet":
        has_trained_its_auxiliary_heads_and_left_them_behind(trained, decoded, tmp_path)


@pytest.mark.parametrize("name", [pytest.param("resnet18", marks=LONG), pytest.param("vgg11", marks=LONG)])
def test_so_does_the_form_for_larger_images(name: str, tmp_path: Path) -> None:
    learns_and_answers_alike(name, two_classes(name, side=LARGEST_SMALL_IMAGE + 1), tmp_path)


def learns_and_answers_alike(name: str, decoded: DecodedImages, tmp_path: Path) -> Trained:
    settings = default_settings(name)
    trained = fit(decoded, halves_and_quarters(decoded), settings, tmp_path, FitOptions())
    assert trained.metrics["accuracy"] == 1

    between = blend(decoded.images[0], decoded.images[1])
    expected = softmax(trained.model.predict(between, verbose=0), 1.0)
    export_alone(trained, name, decoded, tmp_path)
    by_tensorflow = load_signatures(tmp_path / "bundle")["serving_default"](between)
    np.testing.assert_allclose(by_tensorflow, expected, atol=1e-4)
    np.testing.assert_allclose(by_openvino(tmp_path / "bundle", between), expected, atol=1e-4)
    network = build_for(decoded, settings, "float32")
    assign_variables(network, tmp_path / "bundle")
    np.testing.assert_allclose(softmax(network.predict(between, verbose=0), 1.0), expected, atol=1e-4)
    return trained


def has_trained_its_auxiliary_heads_and_left_them_behind(
    trained: Trained, decoded: DecodedImages, tmp_path: Path
) -> None:
    with_heads = trainable(decoded, default_settings("googlenet"), "float32")
    load_weights(tmp_path / BEST, with_heads)  # fails where the heads are not among what was trained
    answers = with_heads.predict(decoded.images, verbose=0)["logits"]
    np.testing.assert_allclose(trained.model.predict(decoded.images, verbose=0), answers, atol=1e-5)


def blend(dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """From one class to the other in eight steps, so that some answers are undecided."""
    shares = np.linspace(0, 1, 8)[:, None, None, None]
    return np.rint(dark * (1 - shares) + light * shares).astype(np.uint8)


def export_alone(trained: Trained, name: str, decoded: DecodedImages, run: Path) -> None:
    """What `training.export.export.export` does in its first process, without golden images and seal."""
    spec = InputSpec(*decoded.images.shape[1:], "crop")
    manifest = Manifest(
        model="toy", architecture=name, class_names=decoded.class_names, input_spec=spec, metrics={}, temperature=1.0
    )
    (run / "bundle" / GOLDEN).mkdir(parents=True)
    (run / REQUEST).write_text(json.dumps(manifest.to_json()))
    trained.model.save_weights(run / WEIGHTS)
    write_saved_model(run)


def by_openvino(bundle: Path, images: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(str(bundle), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(images)["probabilities"]


def test_auxiliary_heads_count_three_tenths_in_training_and_nothing_else() -> None:
    decoded = two_classes("googlenet")
    model = trainable(decoded, default_settings("googlenet"), "float32")
    assert set(model.output) == {"logits", "auxiliary_4a", "auxiliary_4d"}
    assert outline("googlenet", auxiliary=True).count_params() == 13_378_280

    own, first, second = (np.array(logits, np.float32) for logits in ([[2, 0]], [[0, 1]], [[0, 3]]))
    compile_for(model, default_settings("googlenet"), CrossEntropy(np.ones(2)), num_steps=1, steps_per_epoch=1)
    outputs = {"logits": own, "auxiliary_4a": first, "auxiliary_4d": second}
    loss = model.compute_loss(y=np.array([0]), y_pred=outputs)
    expected = [np.log1p(np.exp(z)) for z in (-2, 1, 3)]  # the cross-entropy of each head
    assert float(loss) == pytest.approx(expected[0] + 0.3 * (expected[1] + expected[2]), rel=1e-4)
    alone = model.compute_loss(y=np.array([0]), y_pred=outputs, training=False)
    assert float(alone) == pytest.approx(expected[0], rel=1e-4)
    metrics = model.compute_metrics(None, np.array([0]), outputs)
    assert float(metrics["accuracy"]) == 1  # the auxiliary heads are wrong, and not asked
