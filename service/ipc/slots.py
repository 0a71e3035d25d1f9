"""The shared memory in which an HTTP worker hands images to the engines of one version: slots of the model's shape.

Each worker has an arena of its own for each version, and is the only process that writes into it. An engine is given
the arena's file descriptor when the worker connects (`service.ipc.messages`), and reads the slots that it is told of.
So no lock is shared between processes, a worker's death frees all that it held, and an engine's successor reads the
same pixels again. A slot may be used again while an engine still knows an old request for it: nobody waits for the
answer to that request, and the answer to the new one is computed from pixels that were complete before it was sent.

The memory is a memfd, which no limit on /dev/shm concerns. It cannot shrink, so that nobody who maps it can be ended by
that. Pages that were never written take no memory.
"""

import fcntl
import mmap
import os

import numpy as np

Shape = tuple[int, int, int]


class Arena:
    """A worker's slots.

    Args:
        shape: of an image, (H, W, C).
        count: of slots.
    """

    def __init__(self, shape: Shape, count: int) -> None:
        self.shape = shape
        self.descriptor = os.memfd_create("striate-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, count * size_of(shape))
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._memory, self._pixels = map_slots(self.descriptor, shape, mmap.PROT_READ | mmap.PROT_WRITE)
        # The slot that was freed last is taken first: its memory is in a cache, and others stay untouched.
        self._free = list(range(count - 1, -1, -1))
        self._count = count
        self._most_in_use = 0
        self._retired = False

    def put(self, image: np.ndarray) -> int | None:
        """Copy an image, uint8 (H, W, C), into a free slot. Returns its number; None where no slot is free.

        Raises:
            ValueError: it is of another shape.
        """
        if image.shape != self.shape:
            raise ValueError(f"The image is {image.shape}, and the slots are {self.shape}.")
        if not self._free:
            return None
        slot = self._free.pop()
        self._pixels[slot] = image
        self._most_in_use = max(self._most_in_use, self._count - len(self._free))
        return slot

    def read(self, slot: int) -> bytes:
        return self._pixels[slot].tobytes()

    def free(self, slot: int) -> None:
        self._free.append(slot)
        if self._retired and len(self._free) == self._count:
            self.close()

    def retire(self) -> None:
        """Close it as soon as no slot is in use."""
        self._retired = True
        if len(self._free) == self._count:
            self.close()

    def trim(self) -> None:
        """Give memory of slots back to the system that were in use once, if none is now."""
        if len(self._free) == self._count and self._most_in_use > 1:
            self._free.sort(reverse=True)
            self._memory.madvise(mmap.MADV_REMOVE)
            self._most_in_use = 0

    def close(self) -> None:
        del self._pixels
        self._memory.close()
        os.close(self.descriptor)


def attach(descriptor: int, shape: Shape) -> np.ndarray:
    """A worker's arena as an engine sees it: uint8 (slots, H, W, C), read-only. The descriptor is closed.

    Raises:
        ValueError, OSError: it is none of this shape.
    """
    try:
        return map_slots(descriptor, shape, mmap.PROT_READ)[1]
    finally:
        os.close(descriptor)


def map_slots(descriptor: int, shape: Shape, protection: int) -> tuple[mmap.mmap, np.ndarray]:
    memory = mmap.mmap(descriptor, 0, mmap.MAP_SHARED, protection)
    return memory, np.frombuffer(memory, np.uint8).reshape(-1, *shape)


def size_of(shape: Shape) -> int:
    height, width, channels = shape
    return height * width * channels
