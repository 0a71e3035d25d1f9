"""Images that engines were computing when they crashed: which are computed alone, and which are refused for a while.

An engine that dies was perhaps ended by an image that it was computing, or by somebody else: by the kernel, which
had no memory left, or by an operator. So an image that it was computing is suspected, and the next engine computes it
alone; those that only waited are not. An image is refused once MOST_DEATHS engines have died while they computed it:
all but the first computed nothing else at that moment. It is acquitted when one has answered it. A refusal holds for
one version of a model, and not for ever.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from service.ipc.routes import ModelVersion

MOST_DEATHS = 3
REMEMBERED_S = 600.0  # after the last death
MAX_REMEMBERED = 1000  # images


class Suspects:
    """What one HTTP worker remembers, by version and pixels: a client may send the same image again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By version and pixels: how many engines died of them, and until when that is remembered.
        self._known: OrderedDict[tuple[ModelVersion, bytes], tuple[int, float]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any is remembered; what is too old is forgotten here, so that no pixels are hashed for nothing."""
        while self._known and next(iter(self._known.values()))[1] <= self._clock():
            self._known.popitem(last=False)
        return bool(self._known)

    def deaths(self, target: ModelVersion, pixels: bytes) -> int:
        """Of engines of this version that computed these pixels; from MOST_DEATHS on the image is refused."""
        return self._known.get((target, digest(pixels)), (0, 0.0))[0] if self else 0

    def note_death(self, target: ModelVersion, pixels: bytes) -> int:
        """An engine died while it computed them. Returns how many have."""
        deaths = self.deaths(target, pixels) + 1
        key = target, digest(pixels)
        self._known[key] = deaths, self._clock() + REMEMBERED_S
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return deaths

    def acquit(self, target: ModelVersion, pixels: bytes) -> None:
        """An engine has answered them, so they are no longer suspected."""
        self._known.pop((target, digest(pixels)), None)


def digest(pixels: bytes) -> bytes:
    return hashlib.sha256(pixels).digest()
