"""LeNet-5 then and now."""

import keras
import numpy as np

from models.networks.lenet import TABLE_1, SparseConv2D, Subsampling, scaled_tanh
from models.networks.registry import build
from models.networks.summary import describe, outline


def identity(x: keras.KerasTensor) -> keras.KerasTensor:
    return x


def test_the_paper_has_60_000_trained_parameters_layer_by_layer() -> None:
    rows = {row.name: row.parameters for row in describe(outline("lenet5_1998")).rows if row.parameters}
    output = rows.pop("logits")
    assert rows == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert sum(rows.values()) == 60_000
    assert output == 850  # where the paper has 840 fixed numbers


def test_table_1_is_the_papers() -> None:
    seen = np.zeros((6, 16), int)
    for i, maps in enumerate(TABLE_1):
        seen[list(maps), i] = 1
    assert seen.sum(axis=0).tolist() == [3] * 6 + [4] * 9 + [6]
    assert seen.sum(axis=1).tolist() == [10] * 6  # each map of S2 is seen as often as any other
    assert len(set(TABLE_1)) == 16


def test_a_sparse_convolution_is_a_convolution_of_some_channels() -> None:
    layer = SparseConv2D(((0, 2), (1,)), 3, activation=identity)
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 3)).astype(np.float32)
    layer.build(x.shape)
    layer.bias.assign([10, 20])
    kernels = np.asarray(layer.kernel)  # one for each connection: 0 -> 0, 2 -> 0, 1 -> 1
    y = np.asarray(layer(x))
    assert y.shape == (1, 3, 2, 2)
    patch = x[0, 1:4, 0:3]
    np.testing.assert_allclose(
        y[0, 1, 0, 0], 10 + (patch[..., 0] * kernels[..., 0] + patch[..., 2] * kernels[..., 1]).sum(), rtol=1e-5
    )
    np.testing.assert_allclose(y[0, 1, 0, 1], 20 + (patch[..., 1] * kernels[..., 2]).sum(), rtol=1e-5)


def test_subsampling_is_a_trained_multiple_of_the_mean() -> None:
    layer = Subsampling(activation=identity)
    x = np.arange(32, dtype=np.float32).reshape(1, 4, 4, 2)
    layer.build(x.shape)
    layer.coefficient.assign([2, 3])
    layer.bias.assign([100, 200])
    means = x.reshape(2, 2, 2, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(layer(x)[0], means * [2, 3] + [100, 200])


def test_the_scaled_tanh_keeps_plus_and_minus_one() -> None:
    np.testing.assert_allclose(scaled_tanh(np.array([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)


def test_a_digit_smaller_than_lenets_input_is_centred_on_background() -> None:
    pad = build("lenet5", input_shape=(28, 27, 1), num_classes=10).get_layer("pad")
    padded = np.asarray(pad(np.full((1, 28, 27, 1), 9, np.uint8)))[0, :, :, 0]
    assert padded.shape == (32, 32)
    assert (padded[2:30, 2:29] == 9).all()
    assert padded.sum() == 28 * 27 * 9
