"""Converted layers compute what PyTorch's do; NumPy is the referee, with PyTorch's layouts."""

import keras
import numpy as np
import pytest
from keras import layers

from models.networks.registry import build
from training.weights.convert import assign
from training.weights.torch_file import BadWeights
from training.weights.torch_names import efficientnet_lite_prefix

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def correlate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """PyTorch's conv2d of (C, H, W) and (O, C, h, w), without padding: (O, H - h + 1, W - w + 1)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))  # (C, H', W', h, w)
    return np.einsum("cijuv,ocuv->oij", windows, kernel)


def network(*stack: layers.Layer, shape: tuple[int, ...]) -> keras.Model:
    x = images = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(images, x)


def answer(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Of an image (C, H, W), as PyTorch lays it out: (O, H', W')."""
    return model.predict(x.transpose(1, 2, 0)[None], verbose=0)[0].transpose(2, 0, 1)


def test_a_convolution_is_pytorchs() -> None:
    kernel, bias, x = normal(4, 3, 3, 5), normal(4), normal(3, 9, 9)
    model = network(layers.Conv2D(4, (3, 5), name="conv"), shape=(9, 9, 3))
    assign(model, {"a.weight": kernel, "a.bias": bias}, lambda name: "a")
    expected = correlate(x, kernel) + bias[:, None, None]
    np.testing.assert_allclose(
        model.predict(x.transpose(1, 2, 0)[None], verbose=0)[0].transpose(2, 0, 1), expected, atol=1e-5
    )


def test_a_depthwise_convolution_is_pytorchs_with_as_many_groups_as_channels() -> None:
    kernel, x = normal(3, 1, 3, 3), normal(3, 8, 8)
    model = network(layers.DepthwiseConv2D(3, use_bias=False), shape=(8, 8, 3))
    assign(model, {"a.weight": kernel}, lambda name: "a")
    expected = np.stack([correlate(x[c : c + 1], kernel[c : c + 1])[0] for c in range(3)])
    np.testing.assert_allclose(
        model.predict(x.transpose(1, 2, 0)[None], verbose=0)[0].transpose(2, 0, 1), expected, atol=1e-5
    )


def test_batch_normalisation_and_a_dense_layer_are_pytorchs() -> None:
    gamma, beta, mean, variance = normal(3), normal(3), normal(3), abs(normal(3))
    weight, bias, x = normal(2, 3), normal(2), normal(5, 3)
    model = network(layers.BatchNormalization(epsilon=1e-3, name="bn"), layers.Dense(2, name="fc"), shape=(3,))
    tensors = dict(
        zip(["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"], (gamma, beta, mean, variance), strict=True)
    )
    assign(
        model,
        {**tensors, "bn.num_batches_tracked": np.array(7), "fc.weight": weight, "fc.bias": bias},
        lambda name: name,
    )
    expected = ((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta) @ weight.T + bias
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)


def torch_names(model: keras.Model) -> dict[str, np.ndarray]:
    """Random tensors of the names and shapes of EfficientNet-Lite's file."""
    tensors, prefix_of = {}, efficientnet_lite_prefix(model)
    for layer in (layer for layer in model.layers if layer.weights):
        prefix = prefix_of(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape[0]
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{prefix}.{name}"] = abs(normal(size))
        elif isinstance(layer, layers.DepthwiseConv2D):
            tensors[f"{prefix}.weight"] = layer.get_weights()[0].transpose(2, 3, 0, 1)
        elif isinstance(layer, layers.Conv2D):
            tensors[f"{prefix}.weight"] = layer.get_weights()[0].transpose(3, 2, 0, 1)
        else:
            kernel, bias = layer.get_weights()
            tensors |= {f"{prefix}.weight": kernel.T, f"{prefix}.bias": bias}
    return tensors


@pytest.fixture(scope="module")
def lite() -> keras.Model:
    return build("efficientnet_lite0", input_shape=(64, 64, 3), num_classes=1000)


def test_efficientnet_lite_has_the_names_of_its_file(lite: keras.Model) -> None:
    names = set(torch_names(lite))
    known = {"_conv_stem.weight", "_bn0.running_var", "_blocks.0._depthwise_conv.weight", "_blocks.0._bn2.bias"}
    known |= {"_blocks.1._expand_conv.weight", "_blocks.15._project_conv.weight", "_conv_head.weight", "_fc.bias"}
    assert known <= names
    assert "_blocks.0._expand_conv.weight" not in names, "the first block expands nothing"
    assert len(names) == 247  # 296 in the file, of which 49 count batches


def test_every_tensor_finds_its_layer_and_comes_out_as_it_was(lite: keras.Model) -> None:
    tensors = torch_names(lite)
    assign(lite, tensors, efficientnet_lite_prefix(lite))
    np.testing.assert_array_equal(lite.get_layer("stage9_bn").gamma.numpy(), tensors["_bn1.weight"])
    kernel = lite.get_layer("stage3_2_expand_conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, tensors["_blocks.2._expand_conv.weight"].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("_fc.bias"), r"has no tensor _fc\.bias, which the layer logits needs"),
        (lambda t: t.update({"_fc.bias": normal(10)}), "The layer logits needs"),
        (lambda t: t.update({"_fc.weight": normal(1000)}), "The layer logits needs"),
        (lambda t: t.update({"_conv_stem.weight": normal(32, 27)}), "has the shape .*, which is none of a Conv2D"),
        (lambda t: t.update({"_bn1.bias": np.full(1280, np.nan)}), "_bn1 holds a number that is not finite"),
        (lambda t: t.update({"extra.weight": normal(1)}), "1 tensors are of no layer, such as extra"),
    ],
    ids=["missing", "another shape", "fewer axes", "fewer axes of a kernel", "not a number", "left over"],
)
def test_a_file_of_another_network_is_refused(lite: keras.Model, change, complaint: str) -> None:
    tensors = torch_names(lite)
    change(tensors)
    with pytest.raises(BadWeights, match=complaint):
        assign(lite, tensors, efficientnet_lite_prefix(lite))
