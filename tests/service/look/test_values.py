"""Values of tensors in JSON and in bytes, by themselves."""

import numpy as np
import pytest

from models.bundle.graph import Tensor
from service.errors import BadRequest
from service.look.kinds import KINDS
from service.look.values import tensor_of, tensor_of_bytes, to_bytes, to_json

NUMBERS = [number for number, kind in KINDS.items() if not kind.is_text]
TEXT = 7


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_written_is_read_again_at_the_limits_of_every_type(number):
    kind = KINDS[number].numpy
    if kind is np.bool_:
        array = np.array([[True, False]])
    else:
        limits = np.iinfo(kind) if np.issubdtype(kind, np.integer) else np.finfo(kind)
        array = np.array([[limits.min, limits.max]], kind)
    tensor = Tensor("t:0", number, (-1, 2))
    for again in (tensor_of(to_json(array, "t"), tensor, "t"), tensor_of_bytes(to_bytes(array), [1, 2], tensor, "t")):
        assert again.dtype == array.dtype
        np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("shape", [(), (2,), (2, 1)])
def test_texts_of_any_shape_are_read_and_written(shape):
    array = np.full(shape, b"a\x00", object)
    tensor = Tensor("t:0", TEXT, None)
    for again in (
        tensor_of(to_json(array, "t"), tensor, "t"),
        tensor_of(to_json(array, "t_bytes"), tensor, "t"),
        tensor_of_bytes(to_bytes(array), list(shape), tensor, "t"),
    ):
        assert again.shape == shape
        assert again.ravel().tolist() == array.ravel().tolist()


def test_a_tensor_of_unknown_rank_takes_any_shape_but_an_absurd_one():
    tensor = Tensor("t:0", 1, None)
    assert tensor_of(5, tensor, "t").shape == ()
    assert tensor_of([[[1.5]]], tensor, "t").shape == (1, 1, 1)
    deep: object = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(BadRequest, match="more than 32 dimensions"):
        tensor_of(deep, tensor, "t")


def test_bytes_that_do_not_fill_the_shape_are_refused():
    with pytest.raises(BadRequest, match=r"FP32 of shape \[2\]; 7 bytes came"):
        tensor_of_bytes(b"1234567", [2], Tensor("t:0", 1, (-1,)), "t")
    with pytest.raises(BadRequest, match="cut off"):
        tensor_of_bytes((9).to_bytes(4, "little") + b"abc", [1], Tensor("t:0", TEXT, (-1,)), "t")
