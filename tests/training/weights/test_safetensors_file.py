"""Safetensors files are read exactly; what is damaged or claims more than there is is refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.weights.safetensors_files import write_parts, write_safetensors
from training.weights.safetensors_file import read_safetensors
from training.weights.torch_file import BadWeights

RNG = np.random.default_rng(0)
TENSORS = {
    "conv.weight": RNG.normal(size=(4, 3, 5, 5)).astype(np.float32),
    "conv.bias": RNG.normal(size=4).astype(np.float16),
    "flags": np.array([True, False, True]),  # three bytes, behind which nothing is aligned
    "fc.weight": RNG.normal(size=(2, 3)),
    "bn.num_batches_tracked": np.array(12, np.int64),
    "empty": np.empty((0, 3), np.float32),
}


def test_every_tensor_comes_back_bit_by_bit(tmp_path: Path) -> None:
    found = read_safetensors(write_safetensors(tmp_path / "weights", TENSORS))
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes()


def test_bfloat16_becomes_the_same_numbers_in_float32(tmp_path: Path) -> None:
    entry = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}
    path = write_parts(tmp_path / "weights", {"w": entry}, bytes.fromhex("803f 00c0 0000 c03e".replace(" ", "")))
    np.testing.assert_array_equal(read_safetensors(path)["w"], [[1, -2], [0, 0.375]])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_damaged(tmp_path: Path, share: float) -> None:
    path = write_safetensors(tmp_path / "weights", TENSORS)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadWeights, match="is damaged or no safetensors file"):
        read_safetensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-4, 4]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "object", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]},
        ["F32"],
        None,
    ],
)
def test_an_entry_that_is_none_of_a_tensor_in_the_file_is_refused(tmp_path: Path, entry: object) -> None:
    with pytest.raises(BadWeights, match="is damaged or no safetensors file"):
        read_safetensors(write_parts(tmp_path / "weights", {"w": entry}, bytes(8)))


@pytest.mark.parametrize("content", [b"", b"\xff" * 8 + b"{", b"\x02" + bytes(7) + b"[]", b"\x01" + bytes(7) + b"{"])
def test_what_is_no_safetensors_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(BadWeights, match="is damaged or no safetensors file"):
        read_safetensors(tmp_path / "weights")


def test_a_header_of_a_million_brackets_is_damaged_too(tmp_path: Path) -> None:
    header = b'{"w":' + b"[" * 1_000_000
    (tmp_path / "weights").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadWeights, match="is damaged or no safetensors file"):
        read_safetensors(tmp_path / "weights")
