"""How far a training image may be changed."""

from dataclasses import dataclass
from typing import Literal

from training.config.fields import setting

Edge = Literal["mirror", "grey"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training image may be changed; zero or False switches a kind off.

    Attributes:
        alternate: a random half of the images is flipped in the first epoch, then every image whenever the epoch before
            it did not: two epochs then show both sides of each (Jordan, 2024, https://arxiv.org/abs/2404.00498).
        min_area: of the image, in the random crop that is scaled to its size (Szegedy et al., 2014).
        pca_noise: standard deviation of the noise along each principal component of the training pixels, as a multiple
            of theirs (section 4.1 of Krizhevsky et al., 2012, has 0.1).
        mixup, cutmix: where both are on, each has half of the batches.
    """

    flip: bool = setting(
        True,
        "Flip images left to right at random. [default: on, but not for the data sets digits and mnist]",
        "augmentation",
        depends=True,
    )
    alternate: bool = setting(False, "Flip every image in every second epoch instead of at random.", "augmentation")
    shift: float = setting(
        0.1, "Maximum shift, as a fraction of the side of the image; 0 is off.", "augmentation", least=0, most=0.5
    )
    edge: Edge = setting("mirror", "What fills the edge after a shift: the mirrored image, or grey.", "augmentation")
    min_area: float = setting(
        1.0, "Minimum area of a random crop, as a fraction of the image; 1 is off.", "augmentation", above=0, most=1
    )
    rotation: float = setting(0.0, "Maximum rotation in degrees; 0 is off.", "augmentation", least=0, most=180)
    contrast: float = setting(
        0.2,
        "Contrast: multiply the distance from the mean by a factor within 1 ± this; 0 is off.",
        "augmentation",
        least=0,
        most=1,
    )
    brightness: float = setting(
        0.1, "Brightness: add at most ± this fraction of the range; 0 is off.", "augmentation", least=0, most=1
    )
    saturation: float = setting(
        0.0,
        "Saturation: multiply the distance from grey by a factor within 1 ± this; 0 is off.",
        "augmentation",
        least=0,
        most=1,
    )
    pca_noise: float = setting(
        0.0,
        "Standard deviation of AlexNet's colour noise (0.1 in the paper); 0 is off.",
        "augmentation",
        least=0,
        most=1,
    )
    cutout: float = setting(
        0.0,
        "Cutout: side of a grey square, as a fraction of the shorter side; 0 is off.",
        "augmentation",
        least=0,
        most=1,
    )
    mixup: float = setting(0.0, "mixup: its parameter alpha; 0 is off.", "augmentation", least=0)
    cutmix: float = setting(0.0, "CutMix: its parameter alpha; 0 is off.", "augmentation", least=0)
