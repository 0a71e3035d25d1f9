"""Weights that no package carries: where they are published, and how a copy is known to be whole.

Addresses and hashes are those in the source code of Keras 3.15 and of torchvision, whose file names end with the first
eight digits of the file's sha256; the files themselves were not at hand when this was written.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.weights.sources import IMAGENET
from training.weights.torch_file import BadWeights

KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
TORCH = "https://download.pytorch.org/models"
BSD, MIT, CC_BY, APACHE = (  # of the weights, from those who trained them
    "BSD-3-Clause (torchvision)",
    "MIT (Kaiming He)",
    "CC BY 4.0 (Visual Geometry Group, Oxford)",
    "Apache-2.0 (Google)",
)


@dataclass(frozen=True, slots=True)
class Published:
    """A file of weights of one network."""

    network: str
    url: str
    algorithm: str  # of the hash: md5 or sha256
    digest: str  # hexadecimal, or the beginning of it
    megabytes: float
    accuracy: float  # top-1 on ImageNet's validation images, as its authors published it
    licence: str
    data: str = IMAGENET

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "file": self.file}

    def check(self, path: Path) -> None:
        """
        Raises:
            BadWeights: the file is another one, or not all of it.
        """
        with path.open("rb") as file:
            found = hashlib.file_digest(file, self.algorithm).hexdigest()
        if not found.startswith(self.digest):
            raise BadWeights(
                f"{path} has the {self.algorithm} {found[:16]}..., and {self.file} of {self.url} begins with "
                f"{self.digest[:16]}: it is damaged or another file. Fetch it again, or rename it if it is another one."
            )


def of_keras(network: str, path: str, md5: str, megabytes: float, accuracy: float, licence: str) -> Published:
    file = f"{path}_weights_tf_dim_ordering_tf_kernels.h5"
    return Published(network, f"{KERAS}/{file}", "md5", md5, megabytes, accuracy, licence)


def of_torch(network: str, stem: str, sha256: str, megabytes: float, accuracy: float) -> Published:
    return Published(network, f"{TORCH}/{stem}-{sha256}.pth", "sha256", sha256, megabytes, accuracy, BSD)


PUBLISHED: dict[str, Published] = {
    entry.network: entry
    for entry in (
        of_torch("alexnet", "alexnet-owt", "7be5be79", 244.4, 0.565),
        of_torch("vgg11_bn", "vgg11_bn", "6002323d", 531.5, 0.704),
        of_torch("vgg_b_bn", "vgg13_bn", "abd245e5", 532.2, 0.716),
        of_torch("vgg16_bn", "vgg16_bn", "6c64b313", 553.5, 0.734),
        of_torch("vgg19_bn", "vgg19_bn", "c79401a0", 574.8, 0.742),
        of_torch("resnet18", "resnet18", "f37072fd", 46.8, 0.698),
        of_torch("resnet34", "resnet34", "b627a593", 87.3, 0.733),
        of_torch("resnet50", "resnet50", "11ad3fa6", 102.5, 0.809),
        of_torch("resnet101", "resnet101", "cd907fc2", 178.8, 0.819),
        of_torch("resnet152", "resnet152", "f82ba261", 241.6, 0.823),
        of_keras("vgg16", "vgg16/vgg16", "64373286793e3c8b2b4e3219cbf3544b", 553.5, 0.713, CC_BY),
        of_keras("vgg19", "vgg19/vgg19", "cbe5617147190e668d6c5d5026f83318", 574.7, 0.713, CC_BY),
        of_keras("resnet50_v1", "resnet/resnet50", "2cb95161c43110f7111970584f804107", 103.0, 0.749, MIT),
        of_keras("resnet101_v1", "resnet/resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", 179.6, 0.764, MIT),
        of_keras("resnet152_v1", "resnet/resnet152", "100835be76be38e30d865e96f2aaae62", 242.9, 0.766, MIT),
        of_keras("inception_v3", "inception_v3/inception_v3", "9a0d58056eeedaa3f26cb7ebd46da564", 96.1, 0.779, APACHE),
    )
}
BY_FILE = {entry.file: entry for entry in PUBLISHED.values()}
