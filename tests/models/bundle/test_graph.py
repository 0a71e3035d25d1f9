"""The graph of a SavedModel is read as TensorFlow reads it, whatever the file holds; constants cost nothing."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.bundle.graph import DEEPEST, Graph, Node, read_graphs
from models.errors import BrokenBundle
from tests.bundles import NETWORK, message
from tests.models.bundle.saved_models import read, save, save_tf1


def repeat(probabilities: Any) -> Any:
    """A loop with a condition inside."""
    halve = lambda x: tf.cond(tf.reduce_sum(x) > 1, lambda: x / 2, lambda: x)  # noqa: E731
    (found,) = tf.while_loop(lambda x: tf.reduce_sum(x) > 1, lambda x: (halve(x),), (probabilities,))
    return found


@pytest.fixture(scope="module", params=[save, save_tf1], ids=["TensorFlow 2", "TensorFlow 1"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("saved") / "model", repeat)


@pytest.fixture(scope="module")
def graph(folder: Path) -> Graph:
    (graph,) = read_graphs(folder)
    return graph


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    (expected,) = read(folder).meta_graphs
    return expected


def as_node(node: Any) -> Node:
    attributes = [attribute for _, attribute in node.attr.items()]
    called = [attribute.func.name for attribute in attributes if attribute.HasField("func")]
    listed = [function.name for attribute in attributes for function in attribute.list.func]
    return Node(node.name, node.op, tuple(node.input), tuple(sorted(called + listed)))


def in_order(node: Node) -> Node:
    return Node(node.name, node.op, node.inputs, tuple(sorted(node.functions)))


def test_nodes_and_functions_are_those_that_tensorflow_reads(graph: Graph, expected: Any) -> None:
    assert [in_order(node) for node in graph.nodes] == [as_node(node) for node in expected.graph_def.node]
    library = {function.signature.name: function for function in expected.graph_def.library.function}
    assert library
    assert graph.functions.keys() == library.keys()
    for name, function in graph.functions.items():
        assert [in_order(node) for node in function.nodes] == [as_node(node) for node in library[name].node_def]
        assert function.arguments == tuple(argument.name for argument in library[name].signature.input_arg)
        assert not function.replaceable
    assert any(node.functions for node in graph.nodes)


def test_signatures_and_the_saver_are_those_that_tensorflow_reads(graph: Graph, expected: Any) -> None:
    assert graph.tags == tuple(expected.meta_info_def.tags) == ("serve",)
    assert graph.tensorflow_version == expected.meta_info_def.tensorflow_version == tf.__version__
    assert graph.signatures.keys() == expected.signature_def.keys()
    for name, signature in graph.signatures.items():
        assert signature.method_name == expected.signature_def[name].method_name
        for ours, theirs in ((signature.inputs, "inputs"), (signature.outputs, "outputs")):
            tensors = getattr(expected.signature_def[name], theirs)
            assert ours.keys() == tensors.keys()
            for key, tensor in ours.items():
                assert (tensor.name, tensor.dtype) == (tensors[key].name, tensors[key].dtype)
    images = graph.signatures["serving_default"].inputs["images"]
    assert (images.dtype, images.shape) == (tf.uint8.as_datatype_enum, (-1, 8, 8, 3))
    assert graph.saver is not None
    for field in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
        assert getattr(graph.saver, field) == getattr(expected.saver_def, field)


def test_what_tensorflow_runs_while_it_loads_a_model_is_found(folder: Path, graph: Graph, expected: Any) -> None:
    if expected.HasField("object_graph_def"):
        assert "NoOp" in graph.init_ops
        assert set(expected.object_graph_def.concrete_functions) <= set(graph.methods)
        assert any("initializer" in name for name in graph.methods)
        assert not any("traced_save" in name for name in graph.methods)
    else:
        assert {"seen/Assign", "key_value_init/LookupTableImportV2"} <= set(graph.init_ops)


def test_an_unknown_shape_is_told_from_that_of_a_number(tmp_path: Path) -> None:
    unknown = message(3, bytes([3 << 3, 1]))
    tensors = {"open": unknown, "number": message(3, b""), "none": b"", "one": message(3, message(2, bytes([8, 5])))}
    inputs = [message(1, message(1, key) + message(2, message(1, "x:0") + tensor)) for key, tensor in tensors.items()]
    signature = message(1, "serving_default") + message(2, b"".join(inputs))
    (graph,) = read_graphs(written(tmp_path, message(2, message(5, signature))))
    shapes = {key: tensor.shape for key, tensor in graph.signatures["serving_default"].inputs.items()}
    assert shapes == {"open": None, "number": (), "none": None, "one": (5,)}


def test_a_large_constant_costs_no_more_memory_than_the_file(tmp_path: Path) -> None:
    module = tf.Module()
    values = tf.constant(np.random.default_rng(0).random(4_000_000, np.float32))
    function = tf.function(lambda x: x + values, input_signature=[tf.TensorSpec(())])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": function})
    size = (tmp_path / "saved_model.pb").stat().st_size
    assert size > 16_000_000
    tracemalloc.start()
    try:
        read_graphs(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * size
    finally:
        tracemalloc.stop()


def test_a_message_in_two_parts_is_read_as_one(tmp_path: Path) -> None:
    """A reader that takes the first part, or the last, would not see what TensorFlow runs."""
    graphs = [message(2, message(1, message(1, name) + message(2, "ReadFile"))) for name in ("first", "second")]
    (graph,) = read_graphs(written(tmp_path, message(2, b"".join(graphs))))
    assert [node.name for node in graph.nodes] == ["first", "second"]
    twice = message(1, message(1, "node") + message(2, "Identity") + message(2, "ReadFile"))
    (graph,) = read_graphs(written(tmp_path, message(2, message(2, twice))))
    assert [node.op for node in graph.nodes] == ["ReadFile"]


def test_functions_in_the_attributes_of_functions_are_found(tmp_path: Path) -> None:
    inner = message(1, "f") + message(2, message(10, message(1, "inner")))
    outer = message(1, "f") + message(2, message(1, message(9, message(1, "outer") + message(2, inner))))
    node = message(1, message(1, "call") + message(2, "PartitionedCall") + message(5, outer))
    (graph,) = read_graphs(written(tmp_path, message(2, message(2, node))))
    assert graph.nodes[0].functions == ("outer", "inner")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no graph"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than the rest"),
        (b"\x12\x05", "longer than the rest"),
        (b"\x12" + b"\xff" * 20, "does not end"),
        (b"\xff" * 20, "does not end"),
        (b"\x80", "does not end"),
        (b"\x00\x00", "no protocol buffer"),
        (b"\x13\x14", "no protocol buffer"),
        (b"\x09\x00", "longer than the rest"),
        (b"\x10\x01", "is a number"),
        (message(2, message(1, message(5, b"\xff\xfe"))), "can't decode"),
        (message(2, message(2, message(1, message(1, "x")) * 2)), "two of its operations have the same name"),
        (message(2, message(2, message(2, message(1, message(1, message(1, "f"))) * 2))), "two of its functions"),
        (b"PK\x03\x04 a zip file", "cannot be read"),
        (b"<!doctype html>", "cannot be read"),
    ],
    ids=repr,
)
def test_a_malformed_file_is_refused_with_what_is_wrong(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(BrokenBundle, match=reason) as caught:
        read_graphs(written(tmp_path, content))
    assert str(tmp_path) in str(caught.value)
    caught.match("export again or delete it")


@pytest.mark.parametrize("depth", [DEEPEST + 2, 3000])
def test_endless_nesting_is_refused(tmp_path: Path, depth: int) -> None:
    attribute = b""
    for _ in range(depth):
        attribute = message(2, message(10, message(1, "f") + message(2, attribute)))
    node = message(1, message(1, "x") + message(5, attribute))
    with pytest.raises(BrokenBundle, match="nested more than"):
        read_graphs(written(tmp_path, message(2, message(2, node))))


def test_a_folder_without_the_file_is_refused_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(BrokenBundle, match=r"has no saved_model\.pb; export again or delete it"):
            read_graphs(tmp_path)
        if not (tmp_path / "saved_model.pb").exists():
            os.mkfifo(tmp_path / "saved_model.pb")


def cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: random.integers(len(data))]


def flip(data: bytes, random: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    changed[random.integers(len(data), size=random.integers(1, 4))] = random.integers(256)
    return changed.tobytes()


def noise(data: bytes, random: np.random.Generator) -> bytes:
    return random.bytes(random.integers(100))


def noise_inside(data: bytes, random: np.random.Generator) -> bytes:
    return message(2, message(2, message(1, random.bytes(random.integers(100)))))


@pytest.mark.parametrize("harm", [cut, flip, noise, noise_inside])
def test_whatever_a_file_holds_nothing_but_a_broken_bundle_is_raised(
    tmp_path: Path, harm: Callable[[bytes, np.random.Generator], bytes]
) -> None:
    random = np.random.default_rng(17)
    refused = 0
    for _ in range(500):
        try:
            read_graphs(written(tmp_path, harm(NETWORK, random)))
        except BrokenBundle:
            refused += 1
    assert refused > 50


def test_a_real_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path, folder: Path) -> None:
    """It is one message in another one, so that no part of it is complete."""
    content = (folder / "saved_model.pb").read_bytes()
    for end in np.random.default_rng(0).integers(20, len(content), size=50):
        with pytest.raises(BrokenBundle):
            read_graphs(written(tmp_path, content[:end]))


def written(folder: Path, content: bytes) -> Path:
    (folder / "saved_model.pb").write_bytes(content)
    return folder
