"""Load somebody's model and say what it is, in a confined process; `training.importing.messages` has its files."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np

from models.bundle.preprocessing import InputSpec, Resize, decode_image
from models.files.typed import read_json
from training.foreign.loading import LIBRARIES, Foreign, Input, load
from training.foreign.model_check import check_model, write_config
from training.importing.class_names import check_number, match_folders, names_of_folders
from training.importing.messages import ANSWERS, IMAGE_FILES, QUESTION, Found, Question
from training.preprocessing.outputs import OutputFacts, UnknownModel, choose_output, describe_output, logits_of
from training.preprocessing.ranking import rank
from training.preprocessing.scalings import contrast_of, pixel_scaling, scalings_for

BATCH = 16  # images at a time
NUM_PROBES = 16  # images of noise and gradients, which tell what the outputs are where there are no images
RESIZES: tuple[Resize, ...] = get_args(Resize)
ENCODED_SIDE = 224  # pixels, of a model that takes encoded images and says no size


def examine(folder: Path) -> Found:
    question = read_json(folder / QUESTION, Question)
    source = folder / question.model
    if source.is_file():
        write_config(source, check_model(source))
    foreign = load(source, question.signature)
    height, width, channels = image_shape(foreign.input, question.size)
    encoded = [(folder / IMAGE_FILES / name).read_bytes() for name, _ in question.images]
    scalings = [question.scaling] if question.scaling else scalings_for(channels)
    if foreign.input.layout == "encoded":
        scalings = ["none"]

    def answers(scaling: str, resize: Resize) -> dict[str, np.ndarray]:
        spec = InputSpec(height, width, channels, resize)
        return outputs_of(foreign, np.stack([decode_image(data, spec) for data in encoded]), scaling)

    names: tuple[str, ...] = ()
    if encoded:
        first = question.resize or RESIZES[0]
        raw = {(scaling, first): answers(scaling, first) for scaling in scalings}
        chosen, about = settle(list(raw.values()))
        names, labels = named(question, about)
        if not question.resize:
            ranking = rank(
                {name: logits_of(found[chosen], about) for (name, _), found in raw.items()}, labels, contrast_of
            )
            raw |= {(ranking.best.name, resize): answers(ranking.best.name, resize) for resize in RESIZES[1:]}
        outputs = {" ".join(key): found[chosen] for key, found in raw.items()}
        np.savez(folder / ANSWERS, labels=labels, **outputs)  # type: ignore[arg-type] # of NumPy's stub
    else:
        noise = probes((height, width, channels))
        chosen, about = settle([outputs_of(foreign, noise, name) for name in scalings])
        names = question.names or about.names
    taken = f"output {chosen}: {about.num_classes} classes, as {about.numbers} (measured)"
    return Found(
        foreign.kind,
        (*foreign.describe(), taken),
        foreign.input.layout == "encoded",
        (height, width, channels),
        foreign.hint,
        chosen,
        about,
        names,
        LIBRARIES,
    )


def named(question: Question, about: OutputFacts) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, and the labels of the images, int64 (N,).

    Raises:
        BadClassNames: there are too few or too many, or a folder is called like no class.
    """
    folders = [folder for _, folder in question.images]
    names = question.names or about.names or names_of_folders(folders, about.num_classes)
    check_number(names, about.num_classes, "--labels")
    return names, np.array(match_folders(folders, names), np.int64)


def settle(answers: Sequence[dict[str, np.ndarray]]) -> tuple[str, OutputFacts]:
    """Which output has the classes, and what its numbers are, by all that was answered."""
    together = {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
    chosen = choose_output(together)
    return chosen, describe_output(together[chosen], names=string_row(together))


def string_row(outputs: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The names of the classes, where an output repeats them for every image, as TensorFlow 1's `classify` does."""
    for output in outputs.values():
        if output.dtype.kind in "OS" and output.ndim == 2 and (output == output[:1]).all():
            return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in output[0])
    return ()


def image_shape(taken: Input, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """
    Raises:
        UnknownModel: the model takes any size and none was said, or it takes one size and another was said.
    """
    height, width, channels = taken.image_shape
    if taken.layout == "encoded":
        height, width = size or (ENCODED_SIDE, ENCODED_SIDE)
    elif height is None or width is None:
        if size is None:
            raise UnknownModel("It takes images of any size: say with --size HEIGHTxWIDTH which it was trained with.")
        height, width = size
    elif size not in (None, (height, width)):
        raise UnknownModel(f"It takes images of {height}x{width}, and --size says {size[0]}x{size[1]}.")
    return height, width, channels or 3


def outputs_of(foreign: Foreign, images: np.ndarray, scaling: str) -> dict[str, np.ndarray]:
    """The model's outputs for uint8 images (N, H, W, C), computed by its own library from NumPy's numbers."""
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    given = [foreign_input(foreign.input, part, scaling) for part in parts]
    found = [foreign.answer(part) for part in given]
    return {name: np.concatenate([np.atleast_1d(each[name]) for each in found]) for name in found[0]}


def foreign_input(taken: Input, images: np.ndarray, scaling: str) -> np.ndarray:
    if taken.layout == "encoded":
        from training.export.parity import encode

        return np.array([encode(image) for image in images], object)
    scale = pixel_scaling(scaling, images.shape[-1])
    return np.ascontiguousarray(scale(images.astype(np.float32)), np.float32)


def probes(shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 (NUM_PROBES, H, W, C): noise, coarse to fine, of different brightness."""
    generator = np.random.default_rng(0)
    images = []
    for i in range(NUM_PROBES):
        block = 2 ** (i % 6)
        small = generator.integers(0, 256, (-(-shape[0] // block), -(-shape[1] // block), shape[2]), np.uint8)
        images.append(small.repeat(block, axis=0).repeat(block, axis=1)[: shape[0], : shape[1]] // (1 + i % 2))
    return np.stack(images)


def main(arguments: list[str]) -> dict[str, Any]:
    return asdict(examine(Path(arguments[0])))
