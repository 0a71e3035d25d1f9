"""What a `saved_model.pb` computes, read without TensorFlow: the names of its operations and how they are connected.

The file is a protocol buffer, tensorflow/core/protobuf/saved_model.proto; the encoding is that of
https://protobuf.dev/programming-guides/encoding. The numbers below are those of the fields. Everything else in the
file, such as the values of constants, is skipped and never copied. A field that stands more than once counts as it does
in any reader of protocol buffers: the last text or number is valid, and messages are merged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.errors import BrokenBundle

SAVED_MODEL = "saved_model.pb"
MOST_NODES = 1_000_000  # in a graph or a function; ResNet-152 has 19,000 in all of them
SHORT = 64  # bytes of an attribute that is worth remembering
DEEPEST = 100  # messages inside each other, as in TensorFlow's own reader
INIT_OPS = ("saved_model_main_op", "legacy_init_op", "table_initializer")  # collections that are run once, when loaded
LOCAL_VARIABLES = "local_variables"  # a collection whose initializers are run, too

Message = memoryview  # the bytes of one
Fields = dict[int, list[memoryview | int]]


@dataclass(frozen=True, slots=True)
class Node:
    """An operation of a graph or of a function.

    Attributes:
        inputs: `name`, `name:1` or `^name`, which is a node that is only waited for.
        functions: the names of all functions that its attributes name.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    functions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a graph's library.

    Attributes:
        arguments: their names.
        replaceable: TensorFlow may run it in place of another one, for which it says that it computes the same.
    """

    name: str
    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]
    replaceable: bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a signature.

    Attributes:
        name: `node:0`; empty where it is sparse or has several parts.
        dtype: number in tensorflow/core/framework/types.proto, such as 1 for float32.
        shape: -1 where any size will do; None where even the number of dimensions is open.
    """

    name: str
    dtype: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    method_name: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Saver:
    """Which nodes write the variables to files, and read them."""

    filename_tensor_name: str
    save_tensor_name: str
    restore_op_name: str


@dataclass(frozen=True, slots=True)
class Graph:
    """One meta graph of a SavedModel; most have one.

    Attributes:
        tensorflow_version: that wrote it; may be empty.
        functions: by their names.
        signatures: by their names, such as `serving_default`.
        saver: None where it has no variables.
        init_ops: names of the nodes that are run once, when the model is loaded.
        methods: names of the functions that its objects have; TensorFlow runs some of them when it loads the model.
    """

    tags: tuple[str, ...]
    tensorflow_version: str
    nodes: tuple[Node, ...]
    functions: dict[str, Function]
    signatures: dict[str, Signature]
    saver: Saver | None
    init_ops: tuple[str, ...]
    methods: tuple[str, ...]


def read_graphs(folder: Path) -> tuple[Graph, ...]:
    """The meta graphs of a SavedModel, of which there is at least one.

    Raises:
        BrokenBundle: the file is missing, damaged, or of another kind.
    """
    path = folder / SAVED_MODEL
    if not path.is_file():
        raise BrokenBundle(f"{folder} has no {SAVED_MODEL}; export again or delete it.")
    try:
        saved_model = fields_of(memoryview(path.read_bytes()))
        graphs = tuple(read_graph(message) for message in messages(saved_model, 2))
        if not graphs:
            raise ValueError("it holds no graph")
    except (OSError, ValueError) as error:
        raise BrokenBundle(f"{path} cannot be read ({error}); export again or delete it.") from error
    return graphs


def read_graph(message: Message) -> Graph:
    meta_graph = fields_of(message)
    info, graph = fields_of(merged(meta_graph, 1)), fields_of(merged(meta_graph, 2))
    saver, objects = fields_of(merged(meta_graph, 3)), fields_of(merged(meta_graph, 7))
    library = [read_function(function) for function in messages(fields_of(merged(graph, 2)), 1)]
    functions = {function.name: function for function in library}
    if len(functions) < len(library):
        raise ValueError("two of its functions have the same name")
    collections = read_map(messages(meta_graph, 4))
    return Graph(
        tags=texts(info, 4),
        tensorflow_version=text(info, 5),
        nodes=read_nodes(messages(graph, 1)),
        functions=functions,
        signatures={name: read_signature(value) for name, value in read_map(messages(meta_graph, 5)).items()},
        saver=Saver(text(saver, 1), text(saver, 2), text(saver, 3)) if saver else None,
        init_ops=tuple(read_init_ops(collections)),
        methods=tuple(read_methods(objects)),
    )


def read_function(message: Message) -> Function:
    function = fields_of(message)
    signature = fields_of(merged(function, 1))
    arguments = tuple(text(fields_of(argument), 1) for argument in messages(signature, 2))
    replaceable = "api_implements" in read_map(messages(function, 5))
    return Function(text(signature, 1), arguments, read_nodes(messages(function, 3)), replaceable)


def read_nodes(nodes: list[Message]) -> tuple[Node, ...]:
    if len(nodes) > MOST_NODES:
        raise ValueError(f"it has {len(nodes):,} operations, and at most {MOST_NODES:,} are read")
    found = tuple(read_node(node) for node in nodes)
    if len({node.name for node in found}) < len(found):
        raise ValueError("two of its operations have the same name")
    return found


def read_node(message: Message) -> Node:
    node = fields_of(message)
    functions = tuple(name for entry in messages(node, 5) for name in functions_of(entry))
    return Node(text(node, 1), text(node, 2), texts(node, 3), functions)


def functions_of(entry: Message) -> tuple[str, ...]:
    """The names of the functions in an entry of a map of attributes."""
    if len(entry) <= SHORT:
        return functions_of_short(bytes(entry))
    return tuple(functions_in(merged(fields_of(entry), 2)))


@lru_cache(4096)
def functions_of_short(entry: bytes) -> tuple[str, ...]:
    """Read once, since thousands of nodes have an attribute such as the type float32."""
    return tuple(functions_in(merged(fields_of(memoryview(entry)), 2)))


def functions_in(attribute: Message, depth: int = 0) -> Iterator[str]:
    """The names of the functions in an attribute, those in the attributes of these functions too."""
    if depth > DEEPEST:
        raise ValueError(f"attributes are nested more than {DEEPEST} deep")
    value = fields_of(attribute)
    in_lists = (function for part in messages(value, 1) for function in messages(fields_of(part), 9))
    for function in map(fields_of, (*messages(value, 10), *in_lists)):
        yield text(function, 1)
        for entry in messages(function, 2):
            yield from functions_in(merged(fields_of(entry), 2), depth + 1)


def read_signature(message: Message) -> Signature:
    signature = fields_of(message)
    inputs, outputs = (read_map(messages(signature, number)) for number in (1, 2))
    return Signature(
        text(signature, 3),
        {key: read_tensor(value) for key, value in inputs.items()},
        {key: read_tensor(value) for key, value in outputs.items()},
    )


def read_tensor(message: Message) -> Tensor:
    tensor = fields_of(message)
    shape = fields_of(merged(tensor, 3))
    sizes = tuple(signed(number(fields_of(dimension), 1)) for dimension in messages(shape, 2))
    whole = not messages(tensor, 4) and not messages(tensor, 5)
    known = 3 in tensor and not number(shape, 3)
    return Tensor(text(tensor, 1) if whole else "", number(tensor, 2), sizes if known else None)


def read_init_ops(collections: dict[str, Message]) -> Iterator[str]:
    for name, message in collections.items():
        collection = fields_of(message)
        if name in INIT_OPS:
            yield from texts(fields_of(merged(collection, 1)), 1)
        if name == LOCAL_VARIABLES:
            for variable in messages(fields_of(merged(collection, 2)), 1):
                yield text(fields_of(variable), 2)


def read_methods(objects: Fields) -> Iterator[str]:
    yield from read_map(messages(objects, 2))
    for item in map(fields_of, messages(objects, 1)):
        yield from texts(fields_of(merged(item, 6)), 1)
        if 8 in item:
            yield text(fields_of(merged(item, 8)), 1)


def read_map(entries: list[Message]) -> dict[str, Message]:
    pairs = (fields_of(entry) for entry in entries)
    return {text(pair, 1): merged(pair, 2) for pair in pairs}


def messages(fields: Fields, number: int) -> list[Message]:
    """All messages or texts that stand in a field.

    Raises:
        ValueError: a number stands there.
    """
    values = fields.get(number, ())
    found = [value for value in values if isinstance(value, memoryview)]
    if len(found) < len(values):
        raise ValueError(f"field {number} of a message is a number")
    return found


def merged(fields: Fields, number: int) -> Message:
    found = messages(fields, number)
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


def texts(fields: Fields, number: int) -> tuple[str, ...]:
    return tuple(str(value, "utf-8") for value in messages(fields, number))


def text(fields: Fields, number: int) -> str:
    return texts(fields, number)[-1] if number in fields else ""


def number(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} of a message is no number")
    return value


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def fields_of(message: Message) -> Fields:
    """{number: every value that stands there}, of bytes and of whole numbers; others are skipped.

    Raises:
        ValueError: it is cut off, or no protocol buffer.
    """
    fields: Fields = {}
    at, end = 0, len(message)
    while at < end:
        tag, at = message[at], at + 1
        if tag > 127:
            tag, at = varint(message, at - 1)
        number, kind = tag >> 3, tag & 7
        value: memoryview | int | None = None
        if kind == 0:
            value, at = varint(message, at)
        elif kind == 2:
            length, start = varint(message, at)
            at = start + length
            value = message[start:at]
        elif kind in (1, 5):  # a number of 8 or 4 bytes
            at += 8 if kind == 1 else 4
        if not 0 < number < 1 << 29 or kind not in (0, 1, 2, 5):
            raise ValueError("it is no protocol buffer")
        if at > end:
            raise ValueError("a part of it is longer than the rest of the file")
        if value is not None:
            fields.setdefault(number, []).append(value)
    return fields


def varint(message: Message, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, and where the next part begins."""
    if at < len(message) and message[at] < 128:  # most are of one byte
        return message[at], at + 1
    value = shift = 0
    for byte in message[at : at + 10]:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise ValueError("a number in it does not end")
