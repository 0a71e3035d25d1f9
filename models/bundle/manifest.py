"""The exported bundle: the one contract between training and service.

    exports/<model>/<version>/            version: an integer; TensorFlow Serving can load this directory as it is
        saved_model.pb variables/ assets/
        assets.extra/
            manifest.json                 written last: see `Manifest`; sha256 of every other file
            labels.txt                    line i names class i
            golden/                       a few encoded images, and probabilities.json: what they must get
            images.npy                    every image it was made with: `IMAGE`
            familiarity.npz layers.json thumbnails.npz    see `models.insight`
            report.html                   how good this model is
            MODEL_CARD.md                 what is known of it
            tf_serving_warmup_requests    TensorFlow Serving's own warm-up file
            int8/                         where there is one: the 8-bit form, for OpenVINO, and its golden answers

How versions get there, and which of them is live, is in `models.store.publish`. Nothing in here executes what it reads.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

import numpy as np
from msgspec import Meta

from models.bundle.card import model_card
from models.bundle.class_names import all_nfc
from models.bundle.operations import check_operations
from models.bundle.preprocessing import InputSpec
from models.bundle.reference import Reference
from models.errors import BrokenBundle, UserError
from models.files.durable import fsync_tree, sha256, write_durably
from models.files.typed import read_json, typed

T = TypeVar("T")

FORMAT = 1  # of the manifest
IMPORTED = "imported"  # the architecture of a network that somebody else built and trained
MANIFEST = Path("assets.extra/manifest.json")
LABELS = Path("assets.extra/labels.txt")
CARD = Path("assets.extra/MODEL_CARD.md")
REPORT = Path("assets.extra/report.html")
GOLDEN = Path("assets.extra/golden")
INT8 = Path("assets.extra/int8")  # made by training.export.int8: model.xml, model.bin, probabilities.json


IMAGES = Path("assets.extra/images.npy")
IMAGE = np.dtype(
    [
        ("hash", np.uint64),  # the first eight bytes of the file's sha256
        ("label", np.int32),  # position in the class names
        ("side", np.int8),  # 1 trained on, 2 validated on, 3 tested on
        ("predicted", np.int32),  # what the model said of it, where it was tested on; else -1
    ]
)
TRAINED_ON, VALIDATED_ON, TESTED_ON = 1, 2, 3


Task = Literal["single_label", "multi_label"]  # whether an image has exactly one of the classes, or any number
EngineName = Literal["openvino", "tensorflow"]


class NotForThisModel(UserError):
    """What was asked for does not go with the kind of model that a bundle holds."""


class Figures(TypedDict, total=False):
    """The metrics of a split that other code reads; more keys are allowed."""

    accuracy: float
    accuracy_interval: tuple[float, float] | None


class Lineage(TypedDict, total=False):
    """What others read; there is more."""

    created_at: str | None
    parent_version: int | None
    git_revision: str | None
    data: dict[str, Any]
    settings: dict[str, Any]
    libraries: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Golden:
    """An image of the bundle, and the probabilities that it must get."""

    file: str
    probabilities: list[float]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        model: name under which it is published.
        architecture: name in `models.networks.registry`, or IMPORTED.
        class_names: class i is `class_names[i]`, in NFC.
        input_spec: what `serving_default` takes, and how an image gets there.
        metrics: `test` on the untouched test split; `parity` of the export; `int8`, where there is that form.
        temperature: by which the logits are divided inside the graph.
        scaling: name in `models.networks.scaling`; older bundles, which have none, were all trained with `signed`.
            Of an imported network it says nothing: `lineage.import` has its scaling.
        multi_stage: the network's last layer takes the pooled outputs of earlier stages, too.
        mirrored: the logits are the mean of the image's and of its mirror image's, inside the graph too.
        task: multi_label where each probability stands for itself, so that they do not sum to 1.
        threshold: of multi_label, the labels whose probability is at least this are the answer.
        engines: which of the service's engines compute it; an import tries them, older bundles have both.
        reference: statistics of the images that it was tested on (`models.bundle.reference`); None in old bundles.
        unusual_above: an answer is marked as of an image unlike the training images where its `out_of_distribution` is
            above this (`models.insight.familiarity`); None where it is not known what is usual.
        drawing: how a drawing is made into an image like those of the data set; None where nobody draws them.
        lineage: data fingerprint, split, configuration, git revision, library versions.
        files: sha256 of every other file, by its path inside the bundle.
    """

    model: str
    architecture: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    metrics: dict[str, Any]
    temperature: float = 1.0
    scaling: str = "signed"
    multi_stage: bool = False
    mirrored: bool = False
    drawing: dict[str, Any] | None = None
    task: Task = "single_label"
    threshold: Annotated[float, Meta(gt=0, le=1)] = 0.5
    engines: Annotated[tuple[EngineName, ...], Meta(min_length=1)] = ("openvino", "tensorflow")
    reference: Reference | None = None
    unusual_above: Annotated[float, Meta(ge=0, le=1)] | None = None
    lineage: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Manifest":
        """
        Raises:
            ValueError: it lacks something, or a value is of another type.
        """
        manifest: Manifest = typed(value, cls)
        typed(manifest.metrics, dict[str, Figures])
        typed(manifest.lineage, Lineage)
        names, reference = all_nfc(manifest.class_names), manifest.reference
        if reference is not None:
            nfc = dict(zip(manifest.class_names, names, strict=True))
            reference = replace(reference, classes=[nfc.get(name, name) for name in reference.classes])
        return replace(manifest, class_names=names, reference=reference)


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Complete a bundle: labels, model card, then the manifest with the checksum of every file; fsync all files."""
    write_durably(bundle / CARD, model_card(manifest.to_json()))
    write_durably(bundle / LABELS, "".join(f"{name}\n" for name in manifest.class_names))
    files = {path.relative_to(bundle).as_posix(): sha256(path) for path in files_of(bundle)}
    sealed = Manifest.from_json({**manifest.to_json(), "files": files})
    write_durably(bundle / MANIFEST, json.dumps(sealed.to_json(), indent=2, ensure_ascii=False) + "\n")
    fsync_tree(bundle)


def read_manifest(bundle: Path) -> Manifest:
    """The manifest alone; `verify` also compares the checksums.

    Raises:
        BrokenBundle: it is missing, unreadable, invalid, or of another format version.
    """
    try:
        value = read_json(bundle / MANIFEST, dict[str, Any])
        if value.get("format") == FORMAT:
            return Manifest.from_json(value)
    except FileNotFoundError:
        raise BrokenBundle(f"{bundle} has no {MANIFEST.name}; export again or delete it.") from None
    except (OSError, ValueError) as error:
        raise BrokenBundle(f"{bundle / MANIFEST} is no manifest ({error}); export again or delete it.") from error
    raise BrokenBundle(
        f"{bundle} has manifest format {value.get('format')}, and this version of Striate reads {FORMAT}; "
        "export again or delete it."
    )


def verify(bundle: Path) -> Manifest:
    """The manifest of a bundle whose every file is there, is what was written, and is listed.

    Its graph holds allowed operations alone: whatever executes a bundle, in whichever engine, verifies it first.

    Raises:
        BrokenBundle: anything is missing, altered, added, or a link, or an operation is not allowed.
    """
    manifest = read_manifest(bundle)
    found = {path.relative_to(bundle).as_posix(): path for path in files_of(bundle)}
    missing, extra = manifest.files.keys() - found.keys(), found.keys() - manifest.files.keys()
    altered = [name for name in manifest.files.keys() & found.keys() if sha256(found[name]) != manifest.files[name]]
    for what, names in (("lacks", missing), ("has unlisted", extra), ("has altered", altered)):
        if names:
            raise BrokenBundle(f"{bundle} {what} {', '.join(sorted(names)[:5])}; export again or delete it.")
    if "saved_model.pb" not in found:
        raise BrokenBundle(f"{bundle} has no saved_model.pb; export again or delete it.")
    check_class_names(bundle, manifest.class_names)
    check_operations(bundle)
    return manifest


def refuse_many_labels(manifest: Manifest, what: str) -> None:
    """
    Args:
        what: is refused, as the subject of a sentence, such as "evaluate".

    Raises:
        NotForThisModel: an image has any number of labels, which `what` does not know.
    """
    if manifest.task == "multi_label":
        raise NotForThisModel(
            f"{what} is for models that give an image one label, and {manifest.model} gives it any number of labels."
        )


def check_class_names(bundle: Path, names: tuple[str, ...]) -> None:
    if len(names) < 2 or len(set(names)) != len(names):
        raise BrokenBundle(
            f"{bundle} names its classes {list(names)[:10]}; there must be two or more, all different; "
            "export again or delete it."
        )
    lines = (bundle / LABELS).read_text(encoding="utf-8").split("\n")
    if (*all_nfc(lines[:-1]), lines[-1]) != (*names, ""):
        raise BrokenBundle(f"{bundle / LABELS} differs from the manifest's class names; export again or delete it.")


def read_golden(bundle: Path, *, int8: bool = False) -> list[tuple[bytes, list[float]]]:
    """(encoded image, expected probabilities) of each golden image; `int8` gives those of the int8 network.

    Raises:
        BrokenBundle: a file does not say them.
    """
    rows = list_golden(bundle)
    answers = [row.probabilities for row in rows]
    if int8:
        answers = read_answers(bundle / INT8 / "probabilities.json", list[list[float]])
        if len(answers) != len(rows):
            raise BrokenBundle(f"{bundle} has {len(rows)} golden images, and {len(answers)} answers in 8 bits.")
    return [((bundle / GOLDEN / row.file).read_bytes(), answer) for row, answer in zip(rows, answers, strict=True)]


def list_golden(bundle: Path) -> list[Golden]:
    """
    Raises:
        BrokenBundle: the file does not list them.
    """
    return read_answers(bundle / GOLDEN / "probabilities.json", list[Golden])


def read_answers(path: Path, kind: type[T]) -> T:
    try:
        return read_json(path, kind)
    except ValueError as error:
        raise BrokenBundle(f"{path} does not list answers ({error}); export again or delete the version.") from error


def read_images(bundle: Path) -> np.ndarray:
    """IMAGE (N,): what it was made with; of none where an older bundle does not say.

    Raises:
        BrokenBundle: the file is damaged.
    """
    path = bundle / IMAGES
    if not path.exists():
        return np.empty(0, IMAGE)
    try:
        images: np.ndarray = np.load(path)
        return images.astype(IMAGE, casting="safe")
    except (ValueError, EOFError, TypeError) as error:
        raise BrokenBundle(f"{path} cannot be read ({error}); export again or delete the version.") from error


def loaded_bytes(bundle: Path) -> int:
    """The bytes of one form of a bundle's network, the largest: of the SavedModel.

    What else lies in the bundle does not count: an engine loads the 8-bit form instead of it, and the list of images
    grows with the data.
    """
    about = bundle / "assets.extra"
    return sum(path.stat().st_size for path in files_of(bundle) if not path.is_relative_to(about))


def files_of(bundle: Path) -> list[Path]:
    """Every file in a bundle but its manifest, sorted.

    Raises:
        BrokenBundle: something in it is neither a plain file nor a directory.
    """
    paths = sorted(bundle.rglob("*"))
    odd = [path for path in paths if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if odd:
        raise BrokenBundle(f"{odd[0]} is no plain file, and a bundle holds nothing else; export again or delete it.")
    return [path for path in paths if path.is_file() and path != bundle / MANIFEST]
