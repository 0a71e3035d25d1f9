"""Which TensorFlow operations a bundle may hold: those that an image classifier computes with, and no others.

Loading a SavedModel and answering with it runs whatever operations its graph names, and TensorFlow has some that read
and write files, print to files, or call Python. A bundle is made from somebody else's model too, so that its graph is
checked before anything executes it. An operation that is not on the list is refused, wherever it stands.

Tables of labels are allowed where their values are constants of the graph. A table that is read from a file, with
`InitializeTableFromTextFileV2`, is refused although its file should be in `assets/`: the name of the file is a value of
the graph, which may name any file of the machine. A classifier can do without, since its labels are in `labels.txt`.

Every SavedModel holds operations that write and read its variables. They are allowed where nothing that is served leads
to them. TensorFlow runs those that read while it loads some models; these may read the bundle's own variables alone.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.bundle.allowed import ALLOWED
from models.bundle.graph import Function, Graph, Node, read_graphs
from models.errors import BrokenBundle

OTHER_FORMS = ("saved_model.pbtxt", "saved_model.cpb")  # of the file; TensorFlow may read them in its place
OPERATION_NAME = re.compile("_?[A-Z]")  # how all begin; TensorFlow names its functions otherwise

RESTORING = frozenset(["Restore", "RestoreSlice", "RestoreV2"])  # read variables from files
SAVING = frozenset(["MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2", "ShardedFilename", "ShardedFilespec"])
SAVER = RESTORING | SAVING

READS, WRITES, PYTHON = "it reads files", "it writes files", "it calls Python code, which is not part of the file"
PRINTS = "it prints, into a file if it is told to"
REASONS = {
    **dict.fromkeys(["ReadFile", "MatchingFiles", "TFRecordDataset", "TextLineDataset", "ImmutableConst"], READS),
    **dict.fromkeys(["WriteFile", "CreateSummaryFileWriter", "WriteSummary"], WRITES),
    **dict.fromkeys(["PyFunc", "PyFuncStateless", "EagerPyFunc"], PYTHON),
    **dict.fromkeys(["Print", "PrintV2"], PRINTS),
    **dict.fromkeys(
        ["InitializeTableFromTextFile", "InitializeTableFromTextFileV2"],
        "it fills a table from a file, which may be any file of the machine; make the table of constants "
        "(tf.lookup.KeyValueTensorInitializer)",
    ),
    "XlaCallModule": "it holds a program of another compiler, which is not checked",
}


def check_operations(folder: Path) -> None:
    """Check the graph of a bundle, or of any SavedModel, without executing any of it.

    Raises:
        BrokenBundle: an operation is not allowed, or stands where it is not; says which and where. Or the file cannot
            be read.
    """
    for name in OTHER_FORMS:
        if (folder / name).exists():
            raise BrokenBundle(
                f"{folder} has {name}, and a bundle has its graph in saved_model.pb alone; export again or delete it."
            )
    for graph in read_graphs(folder):
        check_listed(folder, graph)
        check_served(folder, graph)
        check_restored(folder, graph)


def check_listed(folder: Path, graph: Graph) -> None:
    """Every operation is on the list, belongs to saving, or is the name of a function, which is then called."""
    for function, node in all_nodes(graph):
        if node.op in graph.functions:
            if OPERATION_NAME.match(node.op):
                raise refusal(folder, function, node, "a function of the graph has the name of an operation")
        elif node.op not in ALLOWED and node.op not in SAVER:
            raise refusal(folder, function, node, REASONS.get(node.op, "no image classifier needs it"))
        for name in node.functions:
            if name not in graph.functions:
                raise refusal(folder, function, node, f"it calls a function {name!r}, which the graph does not have")


def check_served(folder: Path, graph: Graph) -> None:
    """No operation that writes or reads variables is run by a signature or while the model is loaded."""
    outputs = [tensor.name for signature in graph.signatures.values() for tensor in signature.outputs.values()]
    nodes = upstream(folder, graph, [*outputs, *graph.init_ops])
    replaceable = (name for name, function in graph.functions.items() if function.replaceable)
    methods = (name for name in graph.methods if name in graph.functions)
    called = called_by(graph, [*(name for node in nodes for name in calls(graph, node)), *methods, *replaceable])
    for function, node in [*((None, node) for node in nodes), *inside(called)]:
        if node.op in SAVER:
            raise refusal(folder, function, node, "it writes or reads files while the model is loaded or answers")


def check_restored(folder: Path, graph: Graph) -> None:
    """What TensorFlow runs to read the variables writes no file, and reads only the file that TensorFlow names."""
    if graph.saver is None or not graph.saver.restore_op_name:
        return
    reading = functions_that_read(graph)
    nodes = upstream(folder, graph, [graph.saver.restore_op_name])
    called = called_by(graph, [name for node in nodes for name in calls(graph, node)])
    file = node_of(graph.saver.filename_tensor_name)
    # A function's first argument; one of its nodes may have the same name, and is then written `name:output:0`.
    files = {function.name: function.arguments[0] if function.arguments else "" for function in called}
    for function, node in [*((None, node) for node in nodes), *inside(called)]:
        if node.op in SAVING:
            raise refusal(folder, function, node, "it writes files, and TensorFlow runs it to read the variables")
        reads = node.op in RESTORING or not reading.isdisjoint(calls(graph, node))
        given = node.inputs[0] if node.inputs else ""
        if reads and (given != files[function.name] if function else node_of(given) != file):
            raise refusal(folder, function, node, "it reads another file than that of the model's own variables")


def upstream(folder: Path, graph: Graph, names: Iterable[str]) -> list[Node]:
    """The nodes of the main graph that TensorFlow runs to compute these.

    Raises:
        BrokenBundle: one of them does not exist.
    """
    nodes = {node.name: node for node in graph.nodes}
    found: dict[str, Node] = {}
    waiting = [node_of(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in nodes:
            raise BrokenBundle(
                f"{folder / 'saved_model.pb'} has no operation {name!r}, on which its answers depend; export again or "
                "delete it."
            )
        found[name] = nodes[name]
        waiting += map(node_of, nodes[name].inputs)
    return list(found.values())


def called_by(graph: Graph, names: Iterable[str]) -> list[Function]:
    """The functions of these names, and those that they call in turn; all of a function is run."""
    found: dict[str, Function] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = graph.functions[name]
            waiting += [called for node in found[name].nodes for called in calls(graph, node)]
    return list(found.values())


def functions_that_read(graph: Graph) -> set[str]:
    """The names of those in which variables are read, or in a function that they call."""
    callers: dict[str, list[str]] = {name: [] for name in graph.functions}
    waiting = []
    for function, node in inside(graph.functions.values()):
        for name in calls(graph, node):
            callers[name].append(function.name)
        if node.op in RESTORING:
            waiting.append(function.name)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += callers[name]
    return found


def calls(graph: Graph, node: Node) -> tuple[str, ...]:
    return (*node.functions, node.op) if node.op in graph.functions else node.functions


def all_nodes(graph: Graph) -> Iterator[tuple[Function | None, Node]]:
    yield from ((None, node) for node in graph.nodes)
    yield from inside(graph.functions.values())


def inside(functions: Iterable[Function]) -> Iterator[tuple[Function, Node]]:
    return ((function, node) for function in functions for node in function.nodes)


def node_of(tensor: str) -> str:
    """`name:1`, `^name` or `name` -> `name`."""
    return tensor.removeprefix("^").partition(":")[0]


def refusal(folder: Path, function: Function | None, node: Node, reason: str) -> BrokenBundle:
    place = f" of the function {function.name!r}" if function else ""
    return BrokenBundle(
        f"{folder / 'saved_model.pb'} has the operation {node.op} (node {node.name!r}{place}), which is not allowed: "
        f"{reason}. Export the model again without it, or delete it."
    )
