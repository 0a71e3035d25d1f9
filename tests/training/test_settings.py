"""Which precision a network is trained in."""

from pathlib import Path

import keras
import pytest

from training.settings import default_learning_rate, resolve_precision

LARGE, SMALL = 11_000_000, 61_706


@pytest.mark.parametrize(
    ("flags", "num_parameters", "expected"),
    [
        ("fpu avx2 avx512_bf16 amx_bf16", LARGE, "mixed_bfloat16"),
        ("fpu avx512_bf16", LARGE, "mixed_bfloat16"),
        ("fpu amx_bf16", SMALL, "float32"),
        ("fpu avx2", LARGE, "float32"),
    ],
)
def test_auto_is_bfloat16_for_a_large_network_on_a_processor_that_computes_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, num_parameters: int, expected: str
) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [])
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    assert resolve_precision("auto", num_parameters, cpu_info=tmp_path / "cpuinfo") == expected


def test_auto_is_bfloat16_on_a_gpu_and_float32_where_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [])
    assert resolve_precision("auto", LARGE, cpu_info=tmp_path / "none") == "float32"
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [f"{kind}:0"])
    assert resolve_precision("auto", LARGE, cpu_info=tmp_path / "none") == "mixed_bfloat16"


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_precision_that_was_asked_for_is_taken(precision: str) -> None:
    assert resolve_precision(precision, SMALL) == precision


def test_a_network_without_batch_normalisation_learns_at_a_lower_rate() -> None:
    assert default_learning_rate("alexnet") < default_learning_rate("lenet5") < default_learning_rate("resnet18")
