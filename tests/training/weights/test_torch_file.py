"""State dicts of PyTorch are read exactly; a file that would call anything, or is damaged, is refused."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.weights.torch_files import MAGIC, write_state_dict
from training.weights.torch_file import BadWeights, read_state_dict

RNG = np.random.default_rng(0)
TENSORS = {
    "conv.weight": RNG.normal(size=(4, 3, 5, 5)).astype(np.float32),
    "conv.bias": RNG.normal(size=4).astype(np.float16),
    "bn.num_batches_tracked": np.array(12, np.int64),
    "empty": np.empty((0, 3), np.float32),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["up to 1.5", "from 1.6"])
def test_every_tensor_comes_back_bit_by_bit(tmp_path: Path, zipped: bool) -> None:
    found = read_state_dict(write_state_dict(tmp_path / "weights.pth", TENSORS, zipped=zipped))
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes()


class Hostile:
    """As a pickle, a call of a function."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self._target,)


@pytest.mark.parametrize("headers", [0, 3])
def test_a_pickle_that_would_call_something_is_refused_and_calls_nothing(tmp_path: Path, headers: int) -> None:
    target = tmp_path / "called"
    parts = [pickle.dumps(part) for part in (MAGIC, 1001, {})[:headers]]
    (tmp_path / "hostile.pth").write_bytes(b"".join([*parts, pickle.dumps(Hostile(target))]))
    with pytest.raises(BadWeights, match=r"names .*, which no state dict needs and which is not called here"):
        read_state_dict(tmp_path / "hostile.pth")
    assert not target.exists()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_damaged(tmp_path: Path, zipped: bool, share: float) -> None:
    path = write_state_dict(tmp_path / "weights.pth", TENSORS, zipped=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadWeights, match="is damaged or no state dict"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({}), b"PK\x03\x04"])
def test_what_is_no_state_dict_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(BadWeights, match="is damaged or no state dict"):
        read_state_dict(tmp_path / "weights.pth")


def test_an_archive_that_is_compressed_is_refused_since_it_may_unpack_to_any_size(tmp_path: Path) -> None:
    path = write_state_dict(tmp_path / "weights.pth", TENSORS, zipped=True)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(BadWeights, match="it is compressed"):
        read_state_dict(tmp_path / "packed")


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = write_state_dict(tmp_path / "weights.pth", {"w": np.zeros((2, 3), np.float32)}, zipped=False)
    path.write_bytes(path.read_bytes().replace(b"K\x02K\x03\x86", b"K\x7fK\x7f\x86"))  # its shape, (127, 127)
    with pytest.raises(BadWeights, match="outside of its storage"):
        read_state_dict(path)
