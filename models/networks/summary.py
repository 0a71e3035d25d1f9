"""The table of a network: shapes, parameters, multiply-accumulates and receptive field, layer by layer.

Output sizes follow floor((N - f' + 2p) / s) + 1 with f' = (f - 1) d + 1 for a kernel of f at dilation d; what a padding
layer adds is shown with the layer that it is for. MACs count convolutions and dense layers, as papers do.

The receptive field of a layer is what of the image one of its positions sees, padding included, and its stride how many
pixels apart two neighbours' fields lie. Where branches join it is what any of them sees.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import reduce
from math import prod
from typing import Any

import keras
from keras import layers
from keras.src.backend.common import global_state

from models.networks.registry import architecture_of, build

Pair = tuple[int, int]
FLOAT32_BYTES = 4
WAITING = "uninitialized_variables"  # Keras's own name for them


@dataclass(frozen=True, slots=True)
class Row:
    """One layer. Pairs are (vertical, horizontal); padding is ((before, after), (before, after))."""

    name: str
    kind: str
    output_shape: tuple[int, ...]  # without the batch
    kernel: Pair | None  # None, as are stride, padding and dilation, where the layer has no window
    stride: Pair | None
    padding: tuple[Pair, Pair] | None
    dilation: Pair | None
    parameters: int  # trained and not
    macs: int  # for one image
    receptive_field: Pair
    receptive_field_stride: Pair


@dataclass(frozen=True, slots=True)
class Table:
    """A network's rows and what they add up to."""

    rows: tuple[Row, ...]
    trained_parameters: int
    other_parameters: int
    macs: int
    activation_bytes: int  # of one image, every layer's output in float32: about what training keeps

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class View:
    """Which pixels the first position of a layer sees on one axis, and how far further the next one's lie."""

    first: int = 0
    last: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def through(self, window: "Window") -> "View":
        before = window.padding[0] * self.stride
        reach = (window.kernel - 1) * window.dilation * self.stride
        return View(self.first - before, self.last - before + reach, self.stride * window.stride)

    def joined(self, other: "View") -> "View":
        return View(min(self.first, other.first), max(self.last, other.last), max(self.stride, other.stride))


@dataclass(frozen=True, slots=True)
class Window:
    """What slides over one axis."""

    kernel: int = 1
    stride: int = 1
    padding: Pair = (0, 0)
    dilation: int = 1


def outline(
    name: str, *, input_shape: tuple[int, int, int] | None = None, num_classes: int | None = None, **options: Any
) -> keras.Model:
    """A network without values in its weights: VGG19 in a twentieth of a second and next to no memory.

    Args:
        input_shape, num_classes: the paper's by default.

    Raises:
        ValueError: no architecture has this name, or it is not defined for this input.
    """
    architecture = architecture_of(name)
    with without_values():
        return build(
            name,
            input_shape=input_shape or architecture.input_shape,
            num_classes=num_classes or architecture.num_classes,
            **options,
        )


@contextmanager
def without_values() -> Iterator[None]:
    """What is built in here has no memory for its weights, and never gets any.

    Keras would give it some when the next network is built, which is the list that is put back here; no public
    function of Keras 3.15 does that.
    """
    waiting = list(global_state.get_global_attribute(WAITING) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(WAITING, waiting)


def describe(model: keras.Model) -> Table:
    """The table of a functional network with one input (H, W, C) whose size is known and whose layers are used once.

    It knows convolutions (not transposed or separable ones), pooling, padding and dense layers; all other layers see
    what their inputs see.
    """
    rows = tuple(rows_of(model))
    trained = sum(prod(variable.shape) for variable in model.trainable_variables)
    return Table(
        rows,
        trained_parameters=trained,
        other_parameters=model.count_params() - trained,
        macs=sum(row.macs for row in rows),
        activation_bytes=FLOAT32_BYTES * sum(prod(row.output_shape) for row in rows),
    )


def rows_of(model: keras.Model) -> Iterator[Row]:
    views = {id(model.inputs[0]): (View(), View())}  # of each tensor: (vertical, horizontal)
    margins = {
        id(layer.output): layer.padding
        for layer in model.layers
        if isinstance(layer, layers.ZeroPadding2D) and only_for_windows(layer, model)
    }
    for layer in model.layers[1:]:
        inputs = keras.tree.flatten(layer.input)
        windows = windows_of(layer)
        seen = zip(*(views[id(x)] for x in inputs), strict=True)
        vertical, horizontal = (reduce(View.joined, axis).through(w) for axis, w in zip(seen, windows, strict=True))
        views[id(layer.output)] = (vertical, horizontal)
        if id(layer.output) not in margins:
            yield row_of(layer, windows, margins.get(id(inputs[0]), NO_MARGINS), (vertical, horizontal))


def only_for_windows(padding: keras.Layer, model: keras.Model) -> bool:
    """Whether what a padding layer adds is for layers that slide over it, whose rows can show it as their own."""
    followers = [
        layer for layer in model.layers[1:] if any(x is padding.output for x in keras.tree.flatten(layer.input))
    ]
    return bool(followers) and all(has_window(layer) for layer in followers)


def has_window(layer: keras.Layer) -> bool:
    return hasattr(layer, "kernel_size") or hasattr(layer, "pool_size")


def windows_of(layer: keras.Layer) -> tuple[Window, Window]:
    """What slides vertically and horizontally; a window of one pixel where nothing does."""
    if isinstance(layer, layers.ZeroPadding2D):
        (top, bottom), (left, right) = layer.padding
        return Window(padding=(top, bottom)), Window(padding=(left, right))
    sizes = layer.input.shape[1:3] if not isinstance(layer.input, list) else (1, 1)
    if isinstance(layer, layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D | layers.Flatten):
        return (Window(sizes[0]), Window(sizes[1])) if len(layer.input.shape) == 4 else (Window(), Window())
    if not has_window(layer):
        return Window(), Window()
    kernels = pair(getattr(layer, "kernel_size", None) or layer.pool_size)
    strides, dilations = pair(layer.strides), pair(getattr(layer, "dilation_rate", 1))

    def window(axis: int) -> Window:
        kernel, stride, dilation = kernels[axis], strides[axis], dilations[axis]
        padding = same_padding(sizes[axis], kernel, stride, dilation) if layer.padding == "same" else (0, 0)
        return Window(kernel, stride, padding, dilation)

    return window(0), window(1)


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """What Keras adds before and after, so that the output has ceil(size / stride) positions."""
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def row_of(
    layer: keras.Layer, windows: tuple[Window, Window], margins: tuple[Pair, Pair], view: tuple[View, View]
) -> Row:
    slides = has_window(layer)
    shape = layer.output.shape[1:]
    vertical, horizontal = ((w.padding[0] + m[0], w.padding[1] + m[1]) for w, m in zip(windows, margins, strict=True))
    return Row(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=shape,
        kernel=(windows[0].kernel, windows[1].kernel) if slides else None,
        stride=(windows[0].stride, windows[1].stride) if slides else None,
        padding=(vertical, horizontal) if slides or isinstance(layer, layers.ZeroPadding2D) else None,
        dilation=(windows[0].dilation, windows[1].dilation) if slides else None,
        parameters=layer.count_params(),
        # Every weight of a kernel is multiplied once at every position.
        macs=prod(shape[:-1]) * prod(layer.kernel.shape) if hasattr(layer, "kernel") else 0,
        receptive_field=(view[0].size, view[1].size),
        receptive_field_stride=(view[0].stride, view[1].stride),
    )


def pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


NO_MARGINS = ((0, 0), (0, 0))
