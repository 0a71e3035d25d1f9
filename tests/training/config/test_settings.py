"""Which precision a network is trained in."""

from pathlib import Path

import keras
import pytest

from models.networks.registry import architecture_of
from training.config.settings import (
    Dropout,
    default_learning_rate,
    resolve_dropout,
    resolve_precision,
    run_length,
    settings_for,
)

LARGE, SMALL = 11_000_000, 61_706


@pytest.mark.parametrize(
    ("flags", "num_parameters", "expected", "why"),
    [
        ("fpu avx2 avx512_bf16 amx_bf16", LARGE, "mixed_bfloat16", "AMX computes in it"),
        ("fpu avx512_bf16", LARGE, "mixed_bfloat16", "AVX512-BF16 computes in it"),
        ("fpu amx_bf16", SMALL, "float32", "below 1,000,000 parameters bfloat16 is no faster"),
        ("fpu avx2", LARGE, "float32", "this CPU does not compute in bfloat16"),
    ],
)
def test_auto_is_bfloat16_for_a_large_network_on_a_processor_that_computes_in_it_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, num_parameters: int, expected: str, why: str
) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    assert resolve_precision("auto", num_parameters, cpu_info=tmp_path / "cpuinfo") == (expected, why)


def test_auto_is_bfloat16_on_a_gpu_and_float32_where_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    assert resolve_precision("auto", LARGE, cpu_info=tmp_path / "none")[0] == "float32"
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "gpu:0"])
    assert resolve_precision("auto", LARGE, cpu_info=tmp_path / "none") == ("mixed_bfloat16", "the GPU computes in it")


def test_depthwise_convolutions_are_computed_in_bfloat16_on_a_gpu_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu avx512_bf16 amx_bf16\n")
    for devices, expected in ((["cpu:0"], "float32"), (["cpu:0", "gpu:0"], "mixed_bfloat16")):
        monkeypatch.setattr(keras.distribution, "list_devices", lambda found=devices: found)
        assert resolve_precision("auto", LARGE, depthwise=True, cpu_info=tmp_path / "cpuinfo")[0] == expected


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_precision_that_was_asked_for_is_taken(precision: str) -> None:
    assert resolve_precision(precision, SMALL) == (precision, "as asked")


def test_a_network_without_batch_normalisation_learns_at_a_lower_rate_and_is_clipped() -> None:
    vgg16, lenet5, vgg16_bn = (settings_for(architecture_of(name)) for name in ("vgg16", "lenet5", "vgg16_bn"))
    assert vgg16.learning_rate < lenet5.learning_rate < vgg16_bn.learning_rate
    assert vgg16.clip_norm > vgg16_bn.clip_norm == 0


def test_what_was_chosen_stays() -> None:
    settings = settings_for(architecture_of("vgg_d"), learning_rate=0.3, clip_norm=2.0)
    assert (settings.architecture, settings.learning_rate, settings.clip_norm) == ("vgg16", 0.3, 2.0)


def test_with_batch_normalisation_a_smaller_batch_learns_at_a_lower_rate_and_a_larger_one_at_no_higher() -> None:
    rates = [settings_for(architecture_of("resnet20"), batch_size=size).learning_rate for size in (8, 32, 64, 256)]
    assert rates == [0.0125, 0.05, 0.1, 0.1]


def test_with_batch_normalisation_a_short_run_learns_at_a_lower_rate_and_without_it_at_the_same() -> None:
    """Ten steps at the rate of long runs leave resnet18 worse than before."""
    resnet18, lenet5 = architecture_of("resnet18"), architecture_of("lenet5")
    rates = [default_learning_rate(resnet18, "sgd", 64, steps) for steps in (10, 250, 1000, 50_000)]
    assert rates == [pytest.approx(0.01), pytest.approx(0.05), 0.1, 0.1]
    assert default_learning_rate(resnet18, "adam", 64, 10) == default_learning_rate(resnet18, "adam", 64, 1000)
    assert default_learning_rate(lenet5, "sgd", 64, 10) == default_learning_rate(lenet5, "sgd", 64, 1000)


def test_with_batch_normalisation_a_larger_decay_learns_at_a_lower_rate_and_a_smaller_one_at_no_higher() -> None:
    decays = (0.0, 5e-4, 1e-3, 5e-3)
    rates = [settings_for(architecture_of("resnet18"), weight_decay=decay).learning_rate for decay in decays]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.01])


@pytest.mark.parametrize(
    ("batch_size", "epochs", "steps", "num_images", "expected"),
    [
        (64, 4, 0, 664, (4, 10, 40)),
        (64, 4, 0, 30, (4, 1, 4)),  # all images are one batch
        (64, 0, 0, 664, (151, 10, 1510)),
        (64, 0, 25, 664, (3, 10, 25)),
    ],
)
def test_the_length_of_a_run_follows_from_its_images(
    batch_size: int, epochs: int, steps: int, num_images: int, expected: tuple[int, int, int]
) -> None:
    settings = settings_for(architecture_of("resnet18"), batch_size=batch_size, epochs=epochs, steps=steps)
    assert run_length(settings, num_images) == expected


@pytest.mark.parametrize(
    ("asked", "name", "num_parameters", "num_images", "expected"),
    [
        (None, "basic_cnn", 22_058, 42_407, 0.0),  # it underfits CIFAR-10 as it is
        (None, "basic_cnn", 22_058, 2_000, 0.3),
        (None, "alexnet_2012", 60_965_224, 10_000_000, 0.5),
        ("paper", "basic_cnn", 22_058, 42_407, 0.3),
        (0.1, "basic_cnn", 22_058, 42_407, 0.1),
        (0.0, "alexnet_2012", 60_965_224, 1_000, 0.0),
    ],
)
def test_dropout_is_the_papers_where_there_are_parameters_to_spare(
    asked: Dropout, name: str, num_parameters: int, num_images: int, expected: float
) -> None:
    assert resolve_dropout(asked, architecture_of(name), num_parameters, num_images) == expected
