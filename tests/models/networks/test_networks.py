"""Every network beside its source: a wrong layer shows in the parameters, a wrong stride in the multiply-accumulates.

The counts are those of the papers, of torchvision and of Keras; what no source gives was computed by hand from the
paper's table.
"""

from collections.abc import Iterator
from functools import cache

import keras
import numpy as np
import pytest

from benchmarks.networks import short
from models.networks.batch_norm import BatchNormalization
from models.networks.registry import ALIASES, ARCHITECTURES, architecture_of, build
from models.networks.summary import describe, outline, without_values
from tests.processes import ROOT

PAGE = ROOT / "docs" / "understand" / "networks" / "index.md"
IMAGENET = (224, 224, 3)
CIFAR = (32, 32, 3)
COUNTS = {  # name: (trained parameters, those and the moving statistics, millions of multiply-accumulates)
    "lenet5": (61_706, 61_706, 0.41652),
    "lenet5_1998": (60_000 + 850, 60_850, 0.32652),  # 850 are the output's, which the paper does not train
    "alexnet_2012": (60_965_224, 60_965_224, 724),
    "alexnet": (61_100_840, 61_100_840, 714),
    "alexnet_bn": (61_101_992, 61_104_296, 714),
    "nin": (966_986, 966_986, 222.5),
    "vgg11": (132_863_336, 132_863_336, 7_610),
    "vgg_a_lrn": (132_863_336, 132_863_336, 7_610),
    "vgg_b": (133_047_848, 133_047_848, 11_310),
    "vgg_c": (133_638_952, 133_638_952, 11_770),
    "vgg16": (138_357_544, 138_357_544, 15_470),
    "vgg19": (143_667_240, 143_667_240, 19_630),
    "vgg11_bn": (132_868_840, 132_874_344, 7_610),
    "vgg_a_lrn_bn": (132_868_840, 132_874_344, 7_610),
    "vgg_b_bn": (133_053_736, 133_059_624, 11_310),
    "vgg_c_bn": (133_647_400, 133_655_848, 11_770),
    "vgg16_bn": (138_365_992, 138_374_440, 15_470),
    "vgg19_bn": (143_678_248, 143_689_256, 19_630),
    "googlenet": (6_998_552, 6_998_552, 1_583),
    "inception_v3": (23_817_352, 23_851_784, 5_713),
    "resnet18": (11_689_512, 11_699_112, 1_814),
    "resnet34": (21_797_672, 21_814_696, 3_664),
    "resnet50": (25_557_032, 25_610_152, 4_089),
    "resnet101": (44_549_160, 44_654_504, 7_801),
    "resnet152": (60_192_808, 60_344_232, 11_514),
    "resnet50_v1": (25_557_032, 25_610_152, 3_858),
    "resnet101_v1": (44_549_160, 44_654_504, 7_570),
    "resnet152_v1": (60_192_808, 60_344_232, 11_282),
    "resnet20": (269_722, 271_098, 40.55),
    "resnet32": (464_154, 466_426, 68.86),
    "resnet44": (658_586, 661_754, 97.17),
    "resnet56": (853_018, 857_082, 125.5),
    "resnet110": (1_727_962, 1_736_058, 252.9),
    "efficientnet_lite0": (4_652_008, 4_694_024, 385.2),
    "efficientnet_lite1": (5_416_680, 5_470_344, 600.2),
    "efficientnet_lite2": (6_092_072, 6_150_168, 859.7),
    "efficientnet_lite3": (8_197_096, 8_273_768, 1_383),
    "efficientnet_lite4": (13_006_568, 13_118_936, 2_553),
    "basic_cnn": (22_058, 22_058, 0.563),
    "sequential_cnn": (264_884, 264_884, 2.7),
    "vgg_like": (288_298, 288_298, 15.15),
    "residual_net": (301_194, 302_410, 17.0),
    "fast_cnn": (1_971_640, 1_973_944, 118.1),
    "fast_cnn_relu": (1_971_640, 1_973_944, 118.1),
}
AT_OTHER_INPUTS = [  # (name, input, classes, trained parameters)
    ("lenet5", (28, 28, 1), 10, 61_706),
    ("lenet5", CIFAR, 10, 62_006),
    ("alexnet_2012", IMAGENET, 10, 56_909_194),
    ("alexnet", IMAGENET, 10, 57_044_810),
    ("vgg11", IMAGENET, 10, 128_807_306),
    ("vgg_b", IMAGENET, 10, 128_991_818),
    ("vgg_c", IMAGENET, 10, 129_582_922),
    ("vgg16", IMAGENET, 10, 134_301_514),
    ("vgg19", IMAGENET, 10, 139_611_210),
    ("vgg11_bn", CIFAR, 10, 9_231_114),
    ("vgg_b_bn", CIFAR, 10, 9_416_010),
    ("vgg_c_bn", CIFAR, 10, 10_009_674),
    ("vgg16_bn", CIFAR, 10, 14_728_266),
    ("vgg19_bn", CIFAR, 10, 20_040_522),
    ("resnet18", IMAGENET, 10, 11_181_642),
    ("resnet34", IMAGENET, 10, 21_289_802),
    ("resnet50", IMAGENET, 10, 23_528_522),
    ("resnet101", IMAGENET, 10, 42_520_650),
    ("resnet152", IMAGENET, 10, 58_164_298),
    ("resnet18", CIFAR, 10, 11_173_962),
    ("resnet34", CIFAR, 10, 21_282_122),
    ("resnet50", CIFAR, 10, 23_520_842),
    ("resnet101", CIFAR, 10, 42_512_970),
    ("resnet152", CIFAR, 10, 58_156_618),
]
EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


@cache
def as_in_the_paper(name: str) -> keras.Model:
    return outline(name)


@pytest.fixture
def mixed_bfloat16() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def test_every_network_is_counted_here() -> None:
    assert ARCHITECTURES.keys() == COUNTS.keys()


@EVERY
def test_a_network_is_as_large_as_its_paper_says(name: str) -> None:
    trained, counted, millions = COUNTS[name]
    table = describe(as_in_the_paper(name))
    assert table.trained_parameters == trained
    assert table.trained_parameters + table.other_parameters == counted
    assert table.macs / 1e6 == pytest.approx(millions, rel=2e-3)


@EVERY
def test_the_page_of_the_networks_is_true(name: str) -> None:
    """docs/understand/networks/index.md has a row for each."""
    (row,) = (row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith(f"| `{name}` |"))
    table = describe(as_in_the_paper(name))
    paper = ARCHITECTURES[name].paper
    assert f"| {f'[{paper}]({paper.url})' if paper.url else paper} |" in row
    assert f"| {table.trained_parameters:,} | {short(table.macs)} |" in row


@pytest.mark.parametrize(("name", "input_shape", "num_classes", "trained"), AT_OTHER_INPUTS)
def test_a_network_at_other_inputs_is_as_large_as_others_found(
    name: str, input_shape: tuple[int, int, int], num_classes: int, trained: int
) -> None:
    assert describe(outline(name, input_shape=input_shape, num_classes=num_classes)).trained_parameters == trained


@EVERY
def test_a_network_maps_bytes_to_float32_logits(name: str) -> None:
    model, entry = as_in_the_paper(name), ARCHITECTURES[name]
    assert (model.inputs[0].dtype, model.input_shape) == ("uint8", (None, *entry.input_shape))
    assert (model.outputs[0].dtype, model.output_shape) == ("float32", (None, entry.num_classes))


@EVERY
@pytest.mark.usefixtures("mixed_bfloat16")
def test_logits_stay_float32_in_mixed_precision(name: str) -> None:
    model = outline(name)
    assert "bfloat16" in {layer.compute_dtype for layer in model.layers if hasattr(layer, "kernel")}
    assert model.outputs[0].dtype == "float32"


@EVERY
def test_a_network_is_defined_from_its_smallest_input_on_for_any_channels(name: str) -> None:
    smallest = ARCHITECTURES[name].smallest
    model = outline(name, input_shape=(smallest, smallest + 3, 1), num_classes=2, dropout=0.25)
    assert model.output_shape == (None, 2)
    assert set(dropouts(model)) == {0.25}


@pytest.mark.parametrize("name", [name for name, entry in ARCHITECTURES.items() if entry.smallest > 1])
def test_a_smaller_input_is_an_error_that_says_what_is_needed_and_the_layers_would_not_take_it(name: str) -> None:
    entry = ARCHITECTURES[name]
    smallest = entry.smallest
    with pytest.raises(ValueError, match=f"{name} needs images of at least {smallest}x{smallest} pixels, not"):
        build(name, input_shape=(smallest + 3, smallest - 1, 3), num_classes=2)
    options = {"auxiliary": True} if entry.auxiliary_weight else {}
    with pytest.raises(ValueError, match=r"negative|[Oo]utput (size|shape)"), without_values():
        entry.builder(input_shape=(smallest - 1, smallest - 1, 3), num_classes=2, **options)


@EVERY
def test_the_registry_knows_who_has_batch_normalisation(name: str) -> None:
    kinds = {type(layer) for layer in as_in_the_paper(name).layers}
    assert ARCHITECTURES[name].normalised == (BatchNormalization in kinds)


def dropouts(model: keras.Model) -> list[float]:
    kinds = keras.layers.Dropout | keras.layers.SpatialDropout2D
    return [layer.rate for layer in model.layers if isinstance(layer, kinds)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet5", [0.0]),
        ("alexnet_2012", [0.5, 0.5]),
        ("alexnet", [0.5, 0.5]),
        ("nin", [0.5, 0.5]),
        ("vgg16", [0.5, 0.5]),
        ("googlenet", [0.4]),
        ("resnet50", [0.0]),
        ("basic_cnn", [0.3]),
        ("vgg_like", [0.3, 0.3, 0.3]),
        ("residual_net", [0.3, 0.3, 0.3, 0.3, 0.3]),
    ],
)
def test_dropout_is_the_papers_unless_another_rate_is_asked_for(name: str, expected: list[float]) -> None:
    assert dropouts(as_in_the_paper(name)) == expected


def test_dropout_can_be_switched_off() -> None:
    assert set(dropouts(outline("alexnet", dropout=0.0))) == {0.0}


@pytest.mark.parametrize(("alias", "name"), [("vgg_a", "vgg11"), ("vgg_d", "vgg16"), ("vgg_e_bn", "vgg19_bn")])
def test_the_papers_letters_are_names_too(alias: str, name: str) -> None:
    assert architecture_of(alias) is ARCHITECTURES[name]
    assert not ALIASES.keys() & ARCHITECTURES.keys()


def test_an_unknown_architecture_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'lenet6'; choose from lenet5, .*resnet18, resnet34.*fast_cnn"):
        build("lenet6", input_shape=(32, 32, 1), num_classes=10)


def test_rescaling_is_part_of_the_network_and_maps_bytes_to_plus_minus_one() -> None:
    rescale = build("lenet5", input_shape=(32, 32, 1), num_classes=2).get_layer("rescale")
    np.testing.assert_allclose(rescale(np.array([0, 255], np.uint8)), [-1, 1], atol=1e-6)


def test_the_networks_for_large_images_keep_the_papers_sizes() -> None:
    assert sides("alexnet_2012") == sides("alexnet") == [55, 27, 13, 6]
    assert sides("vgg16") == [224, 112, 56, 28, 14, 7]
    assert sides("resnet50") == [112, 56, 28, 14, 7]
    assert sides("googlenet") == [112, 56, 28, 14, 7]
    assert sides("inception_v3") == [149, 147, 73, 71, 35, 17, 8]


def sides(name: str) -> list[int]:
    """Heights of the feature maps in order, each once."""
    maps = [row.output_shape[0] for row in describe(as_in_the_paper(name)).rows if row.kernel]
    return list(dict.fromkeys(maps))


@pytest.mark.parametrize(
    ("name", "median_side", "num_images", "side"),
    [
        ("resnet18", 384, 50_000, 224),
        ("resnet18", 384, 900, 128),
        ("resnet18", 48, 50_000, 48),
        ("resnet18", 20, 900, 32),
        ("inception_v3", 384, 50_000, 299),
        ("fast_cnn", 384, 900, 32),
    ],
)
def test_the_input_suits_the_network_and_the_images(name: str, median_side: int, num_images: int, side: int) -> None:
    assert ARCHITECTURES[name].side_for(median_side, num_images) == side


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vgg16", ("conv1_1", "conv3_3", "pool5", "fc6", "fc7")),
        ("alexnet_2012", ("conv1", "lrn1", "pool2", "conv5", "fc7")),
        ("resnet50", ("conv1", "pool1", "conv2_block1_shortcut", "conv4_block6_3", "conv5_block3_add")),
        ("resnet20", ("conv1", "conv2_block1_1", "conv4_block3_2_bn")),
        ("googlenet", ("conv2_reduce", "inception_3a_3x3_reduce", "inception_4e_pool_proj", "inception_5b_output")),
        ("inception_v3", ("figure5_3", "figure6_4", "figure7_2", "figure10_1")),
        ("nin", ("mlpconv1", "mlpconv2_1x1_2", "mlpconv3_classes")),
    ],
)
def test_layers_are_called_as_in_the_paper(name: str, layers: tuple[str, ...]) -> None:
    assert set(layers) <= {layer.name for layer in outline(name).layers}
