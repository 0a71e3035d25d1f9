"""An entry of the registry: a network, the paper it is from, and the inputs for which it is defined."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

from models.errors import UserError

if TYPE_CHECKING:
    import keras

SMALL_IMAGES = 128  # pixels; a folder of images smaller than this is not blown up to 224
FEW_IMAGES = 5000  # below it photographs are trained on at SMALL_IMAGES
SMALLEST_SIDE = 32  # pixels; smaller images are blown up to this


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a network comes from; no year and no address where nobody published it."""

    authors: str
    year: int | None = None
    url: str = ""

    def __str__(self) -> str:
        return f"{self.authors}, {self.year}" if self.year else self.authors


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network of the canon.

    Attributes:
        builder: (*, input_shape, num_classes, dropout) -> a network from uint8 images to float32 logits; the default of
            `dropout` is the paper's rate.
        input_shape: (H, W, C) in the paper.
        num_classes: in the paper.
        smallest: pixels that each side needs at least.
        normalised: whether it has batch normalisation, with which it bears a higher learning rate.
        learning_rate: with which SGD trains it best where nothing is said; None is that of its like.
        aliases: other names.
        depthwise: whether most of its convolutions are, which CPUs compute faster in float32 than in bfloat16.
        multi_stage: whether its builder takes `multi_stage`, with which the last layer sees earlier stages, too.
        tail: the beginning of the names of the layers that are trained with `train: tail`; "" where it has none.
        auxiliary_weight: how much each auxiliary head's loss counts beside the network's own; 0 where it has none.
            A network that has them is built with them by `auxiliary=True`, for training only.
    """

    name: str
    builder: Callable[..., "keras.Model"]
    paper: Paper
    input_shape: tuple[int, int, int] = (224, 224, 3)
    num_classes: int = 1000
    smallest: int = 1
    normalised: bool = False
    learning_rate: float | None = None
    aliases: tuple[str, ...] = ()
    depthwise: bool = False
    multi_stage: bool = False
    tail: str = ""
    auxiliary_weight: float = 0.0

    @property
    def dropout(self) -> float:
        """The paper's rate."""
        return signature(self.builder).parameters["dropout"].default

    def check_size(self, input_shape: tuple[int, int, int]) -> None:
        """
        Raises:
            UserError: the network is not defined for this input.
        """
        height, width, _ = input_shape
        if min(height, width) < self.smallest:
            raise UserError(
                f"{self.name} needs images of at least {self.smallest}x{self.smallest} pixels, not {height}x{width}."
            )

    def check_multi_stage(self) -> None:
        """
        Raises:
            UserError: the last layer takes what is before it and nothing else.
        """
        if not self.multi_stage:
            raise UserError(f"The last layer of {self.name} cannot take earlier stages (--multi-stage).")

    def side_for(self, median_side: int, num_images: int) -> int:
        """Height and width that suit so many images of this size: the paper's, where the network does not scale.

        Small images are not blown up; of few large ones much is learnt in a third of the time from smaller copies.
        """
        side = self.input_shape[0]
        if side < SMALL_IMAGES:
            return side
        if median_side < SMALL_IMAGES:
            return max(median_side, self.smallest, SMALLEST_SIDE)
        return max(SMALL_IMAGES, self.smallest) if num_images < FEW_IMAGES else side
