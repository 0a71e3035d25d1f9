"""Somebody's model in this process, which is confined: one function from a batch to outputs, whatever it came as."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from training.preprocessing.outputs import UnknownModel

Layout = Literal["NHWC", "NCHW", "encoded"]
Outputs = dict[str, Any]  # a tensor by its name
LIBRARIES = {"keras": keras.__version__, "tensorflow": tf.__version__}
PREPROCESSING_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)
ARITHMETIC = ("TrueDivide", "Divide", "Subtract", "Multiply", "Add")  # before the first kernel they scale pixels
# What keras.applications does to pixels, by how the names of its networks begin; the longer name first.
APPLICATIONS = {
    **dict.fromkeys(("resnet50v2", "resnet101v2", "resnet152v2", "mobilenetv3"), "signed"),
    **dict.fromkeys(("efficientnet", "convnext", "regnet", "resnetrs"), "none"),  # a layer of theirs does it
    **dict.fromkeys(("mobilenet", "nasnet", "xception", "inception"), "signed"),
    **dict.fromkeys(("resnet", "vgg"), "caffe"),
    "densenet": "imagenet",
}
LAYERS = {  # of networks without their name in them, as Teachable Machine exports them
    "expanded_conv_depthwise": "MobileNetV2",
    "conv_dw_1": "MobileNet",
}


@dataclass(frozen=True, slots=True)
class Input:
    """What a model takes.

    Attributes:
        dtype: name of TensorFlow's type; `string` for encoded images.
        shape: with the batch first; None where any size will do.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def layout(self) -> Layout:
        if self.dtype == "string":
            return "encoded"
        return "NCHW" if self.shape[1] in (1, 3) and self.shape[3] not in (1, 3) else "NHWC"

    @property
    def batch(self) -> int | None:
        return self.shape[0] if self.shape else None

    @property
    def image_shape(self) -> tuple[int | None, int | None, int | None]:
        """Height, width and channels."""
        if self.layout == "encoded":
            return None, None, 3
        one, two, three = self.shape[1:]
        return (two, three, one) if self.layout == "NCHW" else (one, two, three)


@dataclass(frozen=True, slots=True)
class Foreign:
    """
    Attributes:
        model: what holds the variables; kept, since functions refer to them weakly.
        call: a batch of what `input` says -> the outputs.
        hint: the scaling that the layers tell, and how they do.
        is_keras: it is a model of Keras, and no SavedModel.
        details: lines for people.
    """

    model: Any
    call: Callable[[Any], Outputs]
    input: Input
    hint: tuple[str, str] | None
    is_keras: bool
    kind: str
    details: tuple[str, ...] = ()

    def describe(self) -> Iterator[str]:
        """What a person wants to know of it, as lines."""
        yield self.kind
        yield from self.details
        taken, (height, width, channels) = self.input, self.input.image_shape
        size = f"{height or '?'}x{width or '?'}x{channels}"
        form = "encoded images" if taken.layout == "encoded" else f"{taken.dtype}, {size}, {taken.layout}"
        yield f"input {taken.name}: {form}, {'any batch' if taken.batch is None else f'batches of {taken.batch}'}"

    def answer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """
        Args:
            images: float32 (B, H, W, C), as the network takes them but for layout and type; encoded images (B,).
        """
        found = self.call_any_batch(tf.constant(images))
        return {name: np.asarray(output) for name, output in found.items()}

    def call_any_batch(self, images: Any) -> Outputs:
        """The same of tensors, in whatever batch: where the model's is fixed, image by image."""
        if self.input.layout == "NCHW":
            images = tf.transpose(images, (0, 3, 1, 2))
        images = images if self.input.dtype == "string" else tf.cast(images, self.input.dtype)
        size = self.input.batch
        if size is None:
            return self.call(images)

        def one(image: Any) -> Outputs:
            batch = tf.repeat(image[None], size, axis=0)
            return {name: output[0] for name, output in self.call(batch).items()}

        outputs = self.call(tf.repeat(images[:1], size, axis=0))  # whose types the loop has to know before
        return tf.map_fn(one, images, fn_output_signature={name: output.dtype for name, output in outputs.items()})


def load(source: Path, signature: str | None) -> Foreign:
    """
    Args:
        source: a file `model.keras` or `model.h5`, or a SavedModel's directory.
        signature: of a SavedModel; None takes what is usual.

    Raises:
        UnknownModel: it cannot be loaded, or takes no single batch of images.
    """
    return load_saved_model(source, signature) if source.is_dir() else load_keras(source)


def load_keras(source: Path) -> Foreign:
    try:
        model = keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:  # whatever a file of others makes Keras raise
        raise UnknownModel(f"Keras {keras.__version__} cannot load it: {first_line(error)}") from None
    if isinstance(model, keras.Sequential) and not model.built and (shape := first_shape(model)):
        model.build(shape)
    num_inputs = len(getattr(model, "inputs", None) or [])
    if num_inputs != 1:
        raise UnknownModel(f"It has {num_inputs} inputs; an image classifier has one.")
    tensor, names = model.inputs[0], getattr(model, "output_names", [model.layers[-1].name])  # a Sequential has none
    shape = tuple(None if size is None else int(size) for size in tensor.shape)

    def call(images: Any) -> Outputs:
        outputs = model(images, training=False)
        if isinstance(outputs, dict):
            return dict(outputs)
        listed = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(map(str, names), listed, strict=True))

    form = "a model of Keras" if source.suffix == ".keras" else "a whole model of Keras in HDF5"
    kind = f"{form}: {model.name}, {model.count_params():,} parameters"
    return Foreign(model, call, checked(Input(tensor.name, str(tensor.dtype), shape)), hint_of(model), True, kind)


def first_shape(model: Any) -> tuple[int | None, ...] | None:
    """The input of the first model in a Sequential of models that does not say its own; with the batch first."""
    while isinstance(model, keras.Sequential) and not model.built and model.layers:
        model = model.layers[0]
    shape: tuple[int | None, ...] | None = getattr(model, "input_shape", None)
    return shape


def hint_of(model: Any) -> tuple[str, str] | None:
    """The scaling that the operations of a network tell, and how."""
    for operation in flat_operations(model):
        if hasattr(operation, "kernel"):
            break
        if isinstance(operation, PREPROCESSING_LAYERS) or type(operation).__name__ in ARITHMETIC:
            return "none", f"the network begins with {operation.name}, which scales"
    for operation in flat_operations(model):
        if operation.name in LAYERS:
            return "signed", f"{LAYERS[operation.name]}, of which it has the layers, is trained so"
    for name in (model.name.lower(), *(operation.name.lower() for operation in operations_of(model))):
        for beginning, scaling in APPLICATIONS.items():
            if name.replace("_", "").startswith(beginning):
                return scaling, f"keras.applications scales so for {name}"
    return None


def operations_of(model: Any) -> list[Any]:
    """A Sequential has layers, a functional model operations that are no layers, too."""
    return list(getattr(model, "operations", None) or model.layers)


def flat_operations(model: Any) -> list[Any]:
    """Layers and other operations in order, those of models inside it too; no inputs."""
    found: list[Any] = []
    for operation in operations_of(model):
        if hasattr(operation, "layers"):
            found += flat_operations(operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            found.append(operation)
    return found


def load_saved_model(source: Path, signature: str | None) -> Foreign:
    try:
        loaded = tf.saved_model.load(str(source))
    except Exception as error:  # whatever a file of others makes TensorFlow raise
        raise UnknownModel(f"TensorFlow {tf.__version__} cannot load it: {first_line(error)}") from None
    signatures = {str(name): function for name, function in loaded.signatures.items()}
    name = choose_signature(signatures, signature)
    function = signatures[name]
    ((key, spec),) = function.structured_input_signature[1].items()
    shape = () if spec.shape.rank is None else tuple(spec.shape.as_list())
    details = tuple(
        f"  signature {each}{' (taken)' if each == name else ''}: {describe_signature(signatures[each])}"
        for each in signatures
    )
    return Foreign(
        (loaded, function),
        lambda images: dict(function(**{key: images})),
        checked(Input(key, spec.dtype.name, shape)),
        None,
        False,
        "a SavedModel",
        details,
    )


def choose_signature(signatures: dict[str, Any], asked: str | None) -> str:
    """
    Raises:
        UnknownModel: there is none of this name, or none that takes one batch.
    """
    described = "; ".join(f"{name}: {describe_signature(function)}" for name, function in signatures.items()) or "none"
    if asked is not None:
        if asked not in signatures:
            raise UnknownModel(f"It has no signature {asked!r}. It has {described}.")
        usable = [asked]
    else:
        usable = sorted(signatures, key=lambda name: name != "serving_default")
    usable = [name for name in usable if len(signatures[name].structured_input_signature[1]) == 1]
    if not usable:
        raise UnknownModel(f"No signature takes one batch of images. It has {described}.")
    as_tensors = [name for name in usable if input_type(signatures[name]) != tf.string]
    return next((name for name in as_tensors if name == "serving_default"), (as_tensors or usable)[0])


def input_type(function: Any) -> Any:
    (spec,) = function.structured_input_signature[1].values()
    return spec.dtype


def describe_signature(function: Any) -> str:
    """images: float32 (?, 224, 224, 3) -> probabilities: float32 (?, 5)"""
    taken = ", ".join(f"{key}: {shown(spec)}" for key, spec in function.structured_input_signature[1].items())
    given = ", ".join(f"{key}: {shown(spec)}" for key, spec in function.structured_outputs.items())
    return f"{taken} -> {given}"


def shown(spec: Any) -> str:
    sizes = (
        "any shape" if spec.shape.rank is None else f"({', '.join('?' if n is None else str(n) for n in spec.shape)})"
    )
    return f"{spec.dtype.name} {sizes}"


def checked(taken: Input) -> Input:
    """
    Raises:
        UnknownModel: it takes no images.
    """
    encoded = taken.dtype == "string" and len(taken.shape) <= 1
    if not encoded and (len(taken.shape) != 4 or taken.image_shape[2] not in (1, 3)):
        raise UnknownModel(
            f"Its input {taken.name!r} is {taken.dtype} {taken.shape}; a batch of images has four axes, one of them "
            "of 1 or 3 channels."
        )
    return taken


def first_line(error: Exception) -> str:
    """What an exception says first, short enough to be read."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return said[0][:300]
