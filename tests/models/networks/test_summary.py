"""The table of a network: against the framework's own shapes, and against receptive fields computed by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from models.networks.registry import build
from models.networks.summary import describe, outline


def model_of(*stack: keras.Layer, side: int = 33, channels: int = 2) -> keras.Model:
    x = images = keras.Input((side, side, channels))
    for layer in stack:
        x = layer(x)
    return keras.Model(images, x)


@pytest.mark.parametrize("name", ["alexnet_2012", "vgg_c", "googlenet", "inception_v3", "resnet50", "resnet20", "nin"])
def test_output_sizes_follow_from_kernel_stride_padding_and_dilation(name: str) -> None:
    model = outline(name)
    table = describe(model)
    before = {layer.name: keras.tree.flatten(layer.input)[0] for layer in model.layers[1:]}
    padded = {id(x.output): x.input for x in model.layers if isinstance(x, layers.ZeroPadding2D)}
    windows = [row for row in table.rows if row.kernel]
    assert len(windows) >= 8
    for row in windows:
        x = before[row.name]
        for axis in (0, 1):
            n = padded.get(id(x), x).shape[axis + 1]  # the table shows padding with the layer that it is for
            f = (row.kernel[axis] - 1) * row.dilation[axis] + 1
            assert (n - f + sum(row.padding[axis])) // row.stride[axis] + 1 == row.output_shape[axis]


@pytest.mark.parametrize(
    ("name", "sees"),
    [  # of the last convolution or pooling; by r <- r + (f - 1) j, j <- j s over the paper's table
        ("lenet5", 16),  # 5, 6, 14, 16
        ("alexnet", 195),
        ("vgg16", 212),
        ("resnet50", 427),  # striding in the 3x3
        ("vgg_like", 32),
        ("basic_cnn", 13),
    ],
)
def test_receptive_fields_are_those_computed_by_hand(name: str, sees: int) -> None:
    last = [row for row in describe(outline(name)).rows if row.kernel][-1]
    assert last.receptive_field == (sees, sees)


def test_dilation_widens_the_field_and_not_the_count() -> None:
    table = describe(
        model_of(
            layers.Conv2D(4, 3, dilation_rate=1, padding="same"),
            layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
            layers.Conv2D(4, 3, dilation_rate=4),
            layers.Conv2D(4, (3, 1), dilation_rate=(8, 1), padding="same"),
        )
    )
    assert [row.receptive_field for row in table.rows] == [(3, 3), (7, 7), (15, 15), (31, 15)]
    assert [row.output_shape[:2] for row in table.rows] == [(33, 33), (33, 33), (25, 25), (25, 25)]
    assert [row.padding for row in table.rows] == [
        ((1, 1), (1, 1)),
        ((2, 2), (2, 2)),
        ((0, 0), (0, 0)),
        ((8, 8), (0, 0)),
    ]
    assert [row.macs for row in table.rows] == [33 * 33 * 9 * 8, 33 * 33 * 9 * 16, 25 * 25 * 9 * 16, 25 * 25 * 3 * 16]


def test_a_field_is_what_a_gradient_reaches() -> None:
    """Padding, stride, dilation and two branches at once, asked of the network itself."""
    images = keras.Input((41, 41, 1))
    x = layers.ZeroPadding2D(2)(images)
    x = layers.Conv2D(1, 5, strides=2)(x)
    left = layers.Conv2D(1, 3, dilation_rate=3, padding="same")(x)
    right = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    model = keras.Model(images, layers.Conv2D(1, 2)(layers.Add()([left, right])))
    for layer in model.layers:
        layer.set_weights([np.ones_like(weight) for weight in layer.get_weights()])

    def answer(image: np.ndarray) -> float:
        return float(np.asarray(model(image[None]))[0, 9, 9, 0])

    black = np.zeros((41, 41, 1), np.float32)
    seen = []
    for column in range(41):
        image = black.copy()
        image[:, column] = 1
        if answer(image) != answer(black):
            seen.append(column)
    assert describe(model).rows[-1].receptive_field == (seen[-1] - seen[0] + 1,) * 2


def test_a_lopsided_padding_is_told_from_an_even_one() -> None:
    (row,) = describe(model_of(layers.Conv2D(1, 3, strides=2, padding="same"), side=32)).rows
    assert row.padding == ((0, 1), (0, 1))


def test_groups_divide_the_multiplications() -> None:
    (row,) = describe(model_of(layers.Conv2D(8, 3, groups=2, padding="same", use_bias=False), channels=4)).rows
    assert row.parameters == 9 * 2 * 8
    assert row.macs == 33 * 33 * 9 * 2 * 8


def test_pooling_over_everything_sees_everything() -> None:
    table = describe(model_of(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(5)))
    assert [row.receptive_field for row in table.rows] == [(3, 3), (33, 33), (33, 33)]
    assert [row.macs for row in table.rows] == [31 * 31 * 9 * 8, 0, 20]


def test_the_table_adds_up() -> None:
    table = describe(outline("residual_net"))
    model = outline("residual_net")
    assert sum(row.parameters for row in table.rows) == model.count_params()
    assert table.trained_parameters + table.other_parameters == model.count_params()
    outputs = [layer.output.shape[1:] for layer in model.layers[1:] if not isinstance(layer, layers.ZeroPadding2D)]
    assert table.activation_bytes == 4 * sum(int(np.prod(shape)) for shape in outputs)


def test_an_outline_takes_no_memory_now_or_later() -> None:
    weights = outline("vgg19").trainable_variables
    assert len(weights) == 2 * 19
    build("lenet5", input_shape=(32, 32, 1), num_classes=2)  # Keras gives values to whatever is waiting for them
    assert all(weight._value is None for weight in weights)
