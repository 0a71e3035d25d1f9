"""What the command and its confined processes tell each other: files of one folder.

FOLDER/source/          the model, as `training.foreign.sources` has copied it
FOLDER/images/          labelled images, if any
FOLDER/question.json    `Question`, to `training.importing.examine`, whose answer is `Found`
FOLDER/answers.npz      by it, where there are images: the model's outputs for each preprocessing, and `labels`
FOLDER/order.json       `Order`, to `training.importing.write`
FOLDER/checked.npy      uint8 (N, H, W, C): images that the model's own library answers there
FOLDER/expected.npz     by it: those images, and the probabilities that the bundle must give them
FOLDER/graph/           by it: the SavedModel
"""

from dataclasses import dataclass, field

from models.bundle.manifest import Manifest
from models.bundle.preprocessing import Resize
from training.preprocessing.outputs import OutputFacts

SOURCE, IMAGE_FILES, QUESTION, ORDER = "source", "images", "question.json", "order.json"
ANSWERS, CHECKED, GRAPH = "answers.npz", "checked.npy", "graph"


@dataclass(frozen=True, slots=True)
class Question:
    """
    Attributes:
        model: file or folder, relative to the folder.
        signature: of a SavedModel; None takes what is usual.
        size: height and width, for a model that takes any; None where it says them.
        scaling, resize: what was asked for; None tries all.
        names: of the classes, as far as they are known; else the model's own, else the folders' in their order.
        images: files in IMAGE_FILES, with the folder that each comes from.
    """

    model: str
    signature: str | None = None
    size: tuple[int, int] | None = None
    scaling: str | None = None
    resize: Resize | None = None
    names: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a model is; somebody else's program may have made it up.

    Attributes:
        description: lines for people.
        encoded: it takes encoded images, and scales and resizes them itself.
        image_shape: height, width, channels.
        hint: the scaling that the model tells, and how it does.
        output: name of the output that has the classes.
        names: of the classes, where they are known.
    """

    kind: str
    description: tuple[str, ...]
    encoded: bool
    image_shape: tuple[int, int, int]
    hint: tuple[str, str] | None
    output: str
    numbers: OutputFacts
    names: tuple[str, ...] = ()
    libraries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """
    Attributes:
        scaling: of the pixels; not used where the model takes encoded images.
        output: name of the output that has the classes, of which `numbers` says what they are.
    """

    model: str
    signature: str | None
    scaling: str
    output: str
    numbers: OutputFacts
    manifest: Manifest
