"""Which SavedModels are refused for what they would run; none of them is run to find out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework import op_def_registry

from models.bundle.allowed import ALLOWED
from models.bundle.manifest import verify
from models.bundle.operations import REASONS, SAVER, check_operations
from models.errors import BrokenBundle
from tests.bundles import make_bundle, small_graph
from tests.models.bundle.saved_models import add_node, add_saving, read, save, save_tf1, write

raw = tf.raw_ops


def add_file(x: Any, canary: Path) -> Any:
    """x, on which a file's content has no influence."""
    return x + tf.cast(tf.strings.length(tf.io.read_file(str(canary))), tf.float32) * 0


def write_file(x: Any, canary: Path) -> Any:
    with tf.control_dependencies([tf.io.write_file(str(canary), "written")]):
        return tf.identity(x)


def list_files(x: Any, canary: Path) -> Any:
    return x + tf.cast(tf.size(tf.io.matching_files(f"{canary}*")), tf.float32) * 0


def call_python(x: Any, canary: Path) -> Any:
    return tf.reshape(tf.py_function(lambda value: (canary.touch(), value)[1], [x], tf.float32), tf.shape(x))


def call_numpy(x: Any, canary: Path) -> Any:
    return tf.reshape(tf.numpy_function(lambda value: (canary.touch(), value)[1], [x], tf.float32), tf.shape(x))


def print_to_file(x: Any, canary: Path) -> Any:
    with tf.control_dependencies([tf.print("hello", output_stream=f"file://{canary}")]):
        return tf.identity(x)


def print_as_before(x: Any, canary: Path) -> Any:
    return raw.Print(input=x, data=[x], message=str(canary))


def save_tensor(x: Any, canary: Path) -> Any:
    saved = raw.SaveV2(prefix=str(canary), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    with tf.control_dependencies([saved]):
        return tf.identity(x)


def restore_tensor(x: Any, canary: Path) -> Any:
    (found,) = raw.RestoreV2(prefix=str(canary), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])
    return x + tf.reshape(found, ())


def read_records(x: Any, canary: Path) -> Any:
    return x + tf.cast(tf.data.TFRecordDataset(str(canary)).reduce(0, lambda total, _: total + 1), tf.float32)


HARMFUL: dict[Callable[[Any, Path], Any], tuple[str, str]] = {
    add_file: ("ReadFile", "it reads files"),
    write_file: ("WriteFile", "it writes files"),
    list_files: ("MatchingFiles", "it reads files"),
    call_python: ("EagerPyFunc", "it calls Python code"),
    call_numpy: ("PyFunc", "it calls Python code"),
    print_to_file: ("PrintV2", "it prints"),
    print_as_before: ("Print", "it prints"),
    save_tensor: ("SaveV2", "writes or reads files while the model is loaded or answers"),
    restore_tensor: ("RestoreV2", "writes or reads files while the model is loaded or answers"),
    read_records: (r"\w+Dataset", "reads files|no image classifier needs it"),
}


def in_a_loop(harm: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def repeat(x: Any) -> Any:
        shape = x.shape
        body = lambda i, x: (i + 1, tf.ensure_shape(harm(x), shape))  # noqa: E731
        return tf.while_loop(lambda i, x: i < 2, body, (0, x))[1]

    return repeat


def in_a_branch(harm: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: tf.cond(tf.reduce_sum(x) > 1e9, lambda: harm(x), lambda: x)


def in_a_function(harm: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return tf.function(in_a_loop(in_a_branch(harm)))


def directly(harm: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return harm


@pytest.mark.parametrize("place", [directly, in_a_loop, in_a_branch, in_a_function])
@pytest.mark.parametrize("harm", HARMFUL, ids=lambda harm: harm.__name__)
def test_what_reads_writes_prints_or_calls_python_is_refused_wherever_it_stands(
    tmp_path: Path, harm: Callable[[Any, Path], Any], place: Callable[..., Any]
) -> None:
    canary = tmp_path / "canary"
    operation, reason = HARMFUL[harm]
    folder = save(tmp_path / "model", place(lambda x: harm(x, canary)))
    with pytest.raises(
        BrokenBundle, match=rf"the operation ({operation}) \(node '.*' of the function '.*'\)"
    ) as caught:
        check_operations(folder)
    caught.match(reason)
    caught.match("Export the model again without it, or delete it")
    assert str(folder) in str(caught.value)
    assert list(tmp_path.glob("canary*")) == []


@pytest.mark.parametrize("harm", [add_file, write_file, save_tensor], ids=lambda harm: harm.__name__)
def test_the_same_is_refused_in_a_model_of_tensorflow_1(tmp_path: Path, harm: Callable[[Any, Path], Any]) -> None:
    folder = save_tf1(tmp_path / "model", lambda x: harm(x, tmp_path / "canary"))
    with pytest.raises(BrokenBundle, match=rf"the operation {HARMFUL[harm][0]} \(node '[^']*'\), which is not allowed"):
        check_operations(folder)


def test_a_table_of_labels_may_hold_constants_and_not_the_lines_of_a_file(tmp_path: Path) -> None:
    """`save` has a table of constants."""
    (tmp_path / "labels.txt").write_text("cat\ndog\nfox\n")
    check_operations(save(tmp_path / "constants"))
    module = tf.Module()
    index = tf.lookup.TextFileIndex
    lines = tf.lookup.TextFileInitializer(
        str(tmp_path / "labels.txt"), tf.int64, index.LINE_NUMBER, tf.string, index.WHOLE_LINE
    )
    module.table = tf.lookup.StaticHashTable(lines, "?")
    classify = tf.function(module.table.lookup, input_signature=[tf.TensorSpec((None,), tf.int64)])
    tf.saved_model.save(module, str(tmp_path / "file"), {"serving_default": classify})
    with pytest.raises(BrokenBundle, match=r"InitializeTableFromTextFileV2.*any file of the machine.*constants"):
        check_operations(tmp_path / "file")


def restore_writes(meta_graph: Any) -> None:
    meta_graph.saver_def.restore_op_name = "evil"


def restore_waits_for_it(meta_graph: Any) -> None:
    (node,) = (node for node in meta_graph.graph_def.node if node.name == meta_graph.saver_def.restore_op_name)
    node.input.append("^evil")


def main_operation_writes(meta_graph: Any) -> None:
    meta_graph.collection_def["legacy_init_op"].node_list.value[:] = ["evil"]


def table_initializer_writes(meta_graph: Any) -> None:
    meta_graph.collection_def["table_initializer"].node_list.value.append("evil")


def signature_writes(meta_graph: Any) -> None:
    meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "evil"


def local_variable_writes(meta_graph: Any) -> None:
    from tensorflow.core.framework import variable_pb2

    (value,) = meta_graph.collection_def["local_variables"].bytes_list.value
    variable = variable_pb2.VariableDef.FromString(value)
    variable.initializer_name = "evil"
    meta_graph.collection_def["local_variables"].bytes_list.value[:] = [variable.SerializeToString()]


WHILE_LOADING = [
    restore_writes,
    restore_waits_for_it,
    main_operation_writes,
    table_initializer_writes,
    signature_writes,
    local_variable_writes,
]


def without_main_operation(meta_graph: Any) -> None:
    """If there is one, TensorFlow runs that alone."""
    for name in {"saved_model_main_op", "legacy_init_op"} & set(meta_graph.collection_def):
        del meta_graph.collection_def[name]


@pytest.mark.parametrize("change", WHILE_LOADING, ids=lambda change: change.__name__)
def test_nothing_that_tensorflow_runs_while_it_loads_a_model_may_write(
    tmp_path: Path, change: Callable[[Any], None]
) -> None:
    """In a model of TensorFlow 1. TensorFlow does run it, as the canary shows once the check is left out."""
    folder, canary = save_tf1(tmp_path / "model"), tmp_path / "canary"
    saved_model = read(folder)
    (meta_graph,) = saved_model.meta_graphs
    without_main_operation(meta_graph)
    add_saving(meta_graph.graph_def.node, canary)
    check_operations(write(folder, saved_model))  # nothing leads to it yet
    change(meta_graph)
    write(folder, saved_model)
    with pytest.raises(BrokenBundle, match=r"SaveV2 \(node 'evil'\), which is not allowed: it writes"):
        check_operations(folder)
    assert list(tmp_path.glob("canary*")) == []
    tf.saved_model.load(str(folder))
    assert list(tmp_path.glob("canary*")) != []


def put_into(function: Any, canary: Path) -> None:
    add_saving(function.node_def, canary, output=":output:0")
    function.node_def[-1].input[:] = [name.replace(":0:", ":") for name in function.node_def[-1].input]
    function.control_ret["evil"] = "evil"
    function.signature.control_output.append("evil")
    function.signature.is_stateful = True


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
def test_nor_may_the_methods_of_its_objects(tmp_path: Path, listed: bool) -> None:
    """Those that fill a table; TensorFlow finds them by the object, whether they are listed as functions or not."""
    folder = save(tmp_path / "model")
    saved_model = read(folder)
    (meta_graph,) = saved_model.meta_graphs
    (function,) = (f for f in meta_graph.graph_def.library.function if "initializer" in f.signature.name)
    put_into(function, tmp_path / "canary")
    for node in meta_graph.graph_def.node:
        if node.attr["f"].func.name == function.signature.name:
            node.op = "NoOp"
            del node.attr["f"], node.input[:]
    if not listed:
        del meta_graph.object_graph_def.concrete_functions[function.signature.name]
    with pytest.raises(BrokenBundle, match=r"SaveV2 \(node 'evil' of the function '__inference__initializer_"):
        check_operations(write(folder, saved_model))


def test_a_function_that_may_be_run_in_place_of_another_one_may_not_write(tmp_path: Path) -> None:
    """Keras marks the variants of its LSTM so, and TensorFlow chooses one for the device."""
    folder = save(tmp_path / "model")
    saved_model = read(folder)
    (meta_graph,) = saved_model.meta_graphs
    (saving,) = (f for f in meta_graph.graph_def.library.function if "traced_save" in f.signature.name)
    saving.attr["api_implements"].s = b"lstm"
    with pytest.raises(BrokenBundle, match=r"of the function '__inference__traced_save_"):
        check_operations(write(folder, saved_model))


def other_file(meta_graph: Any) -> None:
    """In TensorFlow 1, the operation itself."""
    restore = next(node for node in meta_graph.graph_def.node if node.op == "RestoreV2")
    add_node(meta_graph.graph_def.node, "elsewhere", "Const")
    restore.input[0] = "elsewhere"


def other_argument(meta_graph: Any) -> None:
    """In TensorFlow 2, the argument of its function."""
    name = meta_graph.saver_def.restore_op_name
    restore = next(node for node in meta_graph.graph_def.node if node.name == name)
    add_node(meta_graph.graph_def.node, "elsewhere", "Const")
    restore.input[0] = "elsewhere"


def other_file_inside(meta_graph: Any) -> None:
    """In TensorFlow 2, a constant inside the function."""
    restoring = next(f for f in meta_graph.graph_def.library.function if "traced_restore" in f.signature.name)
    add_node(restoring.node_def, "elsewhere", "Const")
    next(node for node in restoring.node_def if node.op == "RestoreV2").input[0] = "elsewhere:output:0"


def other_file_of_the_same_name(meta_graph: Any) -> None:
    """The constant has the name of the function's argument."""
    restoring = next(f for f in meta_graph.graph_def.library.function if "traced_restore" in f.signature.name)
    name = restoring.signature.input_arg[0].name
    add_node(restoring.node_def, name, "Const")
    next(node for node in restoring.node_def if node.op == "RestoreV2").input[0] = f"{name}:output:0"


@pytest.mark.parametrize(
    ("writer", "change"),
    [(save_tf1, other_file), (save, other_argument), (save, other_file_inside), (save, other_file_of_the_same_name)],
    ids=["TensorFlow 1", "argument", "function", "name"],
)
def test_only_the_models_own_variables_are_read(
    tmp_path: Path, writer: Callable[[Path], Path], change: Callable[[Any], None]
) -> None:
    saved_model = read(writer(tmp_path / "model"))
    change(saved_model.meta_graphs[0])
    with pytest.raises(BrokenBundle, match="reads another file than that of the model's own variables"):
        check_operations(write(tmp_path / "model", saved_model))


def with_function(meta_graph: Any, name: str, *calls: str) -> Any:
    function = meta_graph.graph_def.library.function.add()
    function.signature.name = name
    for called in calls:
        add_node(function.node_def, called, "StatefulPartitionedCall", calls=called)
    return function


def answer_calls(meta_graph: Any, name: str, op: str = "StatefulPartitionedCall") -> None:
    """The answer of a signature waits for a call."""
    add_node(meta_graph.graph_def.node, "call", op, calls="" if op == name else name)
    output = meta_graph.signature_def["serving_default"].outputs["probabilities"].name.partition(":")[0]
    (node,) = (node for node in meta_graph.graph_def.node if node.name == output)
    node.input.append("^call")


@pytest.fixture
def meta_graph(tmp_path: Path) -> Any:
    return read(save(tmp_path / "model")).meta_graphs[0]


def refused(folder: Path, *meta_graphs: Any) -> str:
    """Why a SavedModel of these is refused; empty where it is not."""
    saved_model = read(folder)
    del saved_model.meta_graphs[:]
    saved_model.meta_graphs.extend(meta_graphs)
    try:
        check_operations(write(folder, saved_model))
    except BrokenBundle as error:
        return str(error)
    return ""


def test_functions_that_call_each_other_in_a_circle_are_followed_to_the_end(tmp_path: Path, meta_graph: Any) -> None:
    with_function(meta_graph, "first", "second")
    third = with_function(meta_graph, "third")
    with_function(meta_graph, "second", "first", "second", "third")
    answer_calls(meta_graph, "first")
    assert refused(tmp_path / "model", meta_graph) == ""
    put_into(third, tmp_path / "canary")
    assert "SaveV2 (node 'evil' of the function 'third')" in refused(tmp_path / "model", meta_graph)


def test_a_function_is_called_by_its_name_in_place_of_an_operation_too(tmp_path: Path, meta_graph: Any) -> None:
    function = with_function(meta_graph, "swish_1a2b")
    answer_calls(meta_graph, "swish_1a2b", op="swish_1a2b")
    assert refused(tmp_path / "model", meta_graph) == ""
    put_into(function, tmp_path / "canary")
    assert "SaveV2 (node 'evil' of the function 'swish_1a2b')" in refused(tmp_path / "model", meta_graph)


@pytest.mark.parametrize("name", ["ReadFile", "Identity", "_Send", "Swish"])
def test_a_function_that_has_the_name_of_an_operation_is_not_called_in_its_place(
    tmp_path: Path, meta_graph: Any, name: str
) -> None:
    with_function(meta_graph, name)
    answer_calls(meta_graph, name, op=name)
    assert "a function of the graph has the name of an operation" in refused(tmp_path / "model", meta_graph)


def test_what_a_graph_names_and_does_not_have_is_refused(tmp_path: Path, meta_graph: Any) -> None:
    answer_calls(meta_graph, "nothing")
    assert "it calls a function 'nothing', which the graph does not have" in refused(tmp_path / "model", meta_graph)
    meta_graph.graph_def.node[-1].CopyFrom(type(meta_graph.graph_def.node[-1])(name="call", op="NoOp"))
    meta_graph.graph_def.node[-1].input.append("^missing")
    assert "no operation 'missing', on which its answers depend" in refused(tmp_path / "model", meta_graph)


def test_every_meta_graph_is_checked_and_no_unused_operation_is_left_out(tmp_path: Path, meta_graph: Any) -> None:
    second = type(meta_graph)()
    second.CopyFrom(meta_graph)
    assert refused(tmp_path / "model", meta_graph, second) == ""
    add_node(second.graph_def.node, "unused", "ReadFile")
    assert "the operation ReadFile (node 'unused')" in refused(tmp_path / "model", meta_graph, second)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
@pytest.mark.parametrize("instead", [True, False], ids=["instead", "beside"])
def test_the_other_forms_of_the_file_are_refused(tmp_path: Path, name: str, instead: bool) -> None:
    folder = save(tmp_path / "model")
    (folder / name).write_bytes(b"")
    if instead:
        (folder / "saved_model.pb").unlink()
    with pytest.raises(BrokenBundle, match=f"has {name}, and a bundle has its graph in saved_model.pb alone"):
        check_operations(folder)


@pytest.mark.parametrize("writer", [save, save_tf1], ids=["TensorFlow 2", "TensorFlow 1"])
def test_whatever_a_file_holds_nothing_but_a_broken_bundle_is_raised(
    tmp_path: Path, writer: Callable[[Path], Path]
) -> None:
    folder = writer(tmp_path / "model")
    content, random, found = (folder / "saved_model.pb").read_bytes(), np.random.default_rng(17), 0
    for _ in range(200):
        changed = np.frombuffer(content, np.uint8).copy()
        changed[random.integers(len(changed), size=5)] = random.integers(256, size=5)
        (folder / "saved_model.pb").write_bytes(changed)
        try:
            check_operations(folder)
        except BrokenBundle:
            found += 1
    assert found > 50


def test_a_bundle_with_such_an_operation_does_not_verify(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", graph=small_graph("ReadFile"))
    with pytest.raises(BrokenBundle, match=r"the operation ReadFile \(node 'images'\), which is not allowed: it reads"):
        verify(bundle)


def test_the_lists_name_operations_that_tensorflow_has_and_none_on_two() -> None:
    assert [name for name in (*ALLOWED, *SAVER, *REASONS) if op_def_registry.get(name) is None] == []
    assert not ALLOWED & SAVER
    assert not ALLOWED & REASONS.keys()


def test_the_layers_of_keras_that_image_classifiers_have_are_allowed(tmp_path: Path) -> None:
    images = keras.Input((32, 32, 3), name="images")
    x = layers.Rescaling(1 / 255)(layers.Resizing(16, 16)(images))
    x = layers.RandomZoom(0.1)(layers.RandomRotation(0.1)(layers.RandomFlip()(x)))
    for activation in ("relu", "relu6", "silu", "gelu", "hard_silu", "leaky_relu", "elu", "selu", "mish"):
        x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", activation=activation)(x))
    x = layers.SeparableConv2D(4, 3, padding="same")(layers.ZeroPadding2D()(x))
    x = layers.DepthwiseConv2D(3)(layers.Conv2DTranspose(4, 3)(x))
    x = layers.GroupNormalization(2)(layers.UnitNormalization()(layers.SpatialDropout2D(0.1)(x)))
    x = layers.UpSampling2D()(layers.AveragePooling2D(2)(layers.MaxPooling2D(2)(x)))
    x = layers.Concatenate()([x, layers.PReLU()(x)])
    tokens = layers.LayerNormalization()(layers.Reshape((-1, 8))(x))
    tokens = layers.Add()([tokens, layers.MultiHeadAttention(2, 4, dropout=0.1)(tokens, tokens)])
    tokens = layers.GRU(4, return_sequences=True)(layers.LSTM(4, return_sequences=True)(tokens))
    x = layers.Dropout(0.1)(layers.GaussianNoise(0.1)(layers.GlobalAveragePooling1D()(tokens)))
    model = keras.Model(images, layers.Dense(3, activation="softmax")(x))
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    signature = [tf.TensorSpec((1, 32, 32, 3), tf.float32, "images")]
    answer, train = (
        tf.function(lambda images, training=training: {"probabilities": model(images, training=training)}, signature)
        for training in (False, True)
    )
    tf.saved_model.save(module, str(tmp_path), {"serving_default": answer, "train": train})
    check_operations(tmp_path)
