"""Images that are the same picture: re-encoded, scaled or brightened copies, which belong on one side of a split.

Two images are near where the grey thumbnails of both, 16x16 pixels, correlate. To find them without comparing all
pairs, every thumbnail gets a perceptual hash: on which side of random hyperplanes it lies (Charikar, 2002,
https://doi.org/10.1145/509907.509965). Those of one picture agree in most bits, and so in some band of them.
"""

from collections.abc import Iterator

import numpy as np

THUMBNAIL = 16  # pixels a side
NUM_BANDS = 16
BAND_BITS = 16  # at a correlation of 0.97 a band agrees with probability 0.27, and some band of 16 with 0.99
MAX_BIT_DIFFERENCE = 48  # of 256, before thumbnails are compared; 20 are expected at 0.97
NUM_NEIGHBOURS = 32  # with whom an image of a crowded band is compared
LEAST_CORRELATION = 0.97  # of near duplicates; those of CIFAR-10 down to 0.95 were true, looked at by eye
LEAST_DEVIATION = 4.0  # of a thumbnail's pixels; below, a picture shows nothing that another could be taken for
LARGEST_GROUP = 20  # images; more that look alike are how this data set looks, and no copies
BLOCK = 1 << 13  # images or pairs at a time, so that memory does not grow with the data set


def group_duplicates(pixels: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """For each image the first row of its group, int64 (N,): its own where it is alone.

    Every image is equal, or near, to the first of its group: there are no chains.

    Args:
        pixels: uint64 (N,), hashes of the decoded images; equal ones are always of one group.
        thumbnails: uint8 (N, 16, 16).
    """
    _, distinct, equal = np.unique(pixels, return_index=True, return_inverse=True)
    order = np.argsort(distinct)
    distinct, equal = distinct[order], np.argsort(order)[equal]  # by row again
    groups = np.arange(len(distinct))
    for first, second in near_duplicates(thumbnails[distinct]).tolist():
        if groups[first] == first and groups[second] == second:
            groups[second] = first
    crowded = np.bincount(groups, minlength=len(groups))[groups] > LARGEST_GROUP
    groups[crowded] = np.flatnonzero(crowded)
    return distinct[groups][equal]


def near_duplicates(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (N, 16, 16) -> int64 (P, 2): pairs of rows that are one picture, the earlier first, ascending."""
    rows = np.flatnonzero(show_something(thumbnails))  # the others would all be candidates of each other
    found = (rows[pairs] for pairs in candidates(perceptual_hashes(thumbnails)[rows]))
    pairs = [pair[near(thumbnails, pair)] for pair in found]
    return np.unique(np.concatenate([np.empty((0, 2), np.int64), *pairs]), axis=0)


def show_something(thumbnails: np.ndarray) -> np.ndarray:
    """bool (N,)."""
    blocks = (thumbnails[start : start + BLOCK] for start in range(0, len(thumbnails), BLOCK))
    return np.concatenate([np.empty(0, bool), *(block.std(axis=(1, 2)) >= LEAST_DEVIATION for block in blocks)])


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (N, 16, 16) -> uint16 (N, 16): 16 bands of 16 bits."""
    planes = np.random.default_rng(0).normal(size=(THUMBNAIL**2, NUM_BANDS * BAND_BITS)).astype(np.float32)
    hashes = np.empty((len(thumbnails), NUM_BANDS), np.uint16)
    for start in range(0, len(thumbnails), BLOCK):
        bits = centred(thumbnails[start : start + BLOCK]) @ planes > 0
        hashes[start : start + BLOCK] = np.packbits(bits, axis=1).view(np.uint16)
    return hashes


def candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of int64 (P, 2): pairs of rows, the earlier first, that share a band and differ in few bits."""
    for band in range(NUM_BANDS):
        following = [hashes[:, (band + i) % NUM_BANDS] for i in (3, 2, 1, 0)]  # those alike in these too lie closest
        order = np.lexsort(following)
        ordered = hashes[order, band]
        for distance in range(1, NUM_NEIGHBOURS + 1):
            same = np.flatnonzero(ordered[distance:] == ordered[:-distance])
            if not len(same):
                break
            for start in range(0, len(same), BLOCK):
                block = same[start : start + BLOCK]
                pairs = np.sort(np.stack([order[block], order[block + distance]], axis=1), axis=1)
                differing = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
                yield pairs[differing <= MAX_BIT_DIFFERENCE]


def near(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """bool (P,): whether the two of each pair, which both show something, are one picture."""
    first, second = (centred(thumbnails[pairs[:, i]]) for i in (0, 1))
    return (first * second).mean(axis=1) >= LEAST_CORRELATION * first.std(axis=1) * second.std(axis=1)


def centred(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (N, 16, 16) -> float32 (N, 256) with a mean of 0 each."""
    flat = thumbnails.reshape(-1, THUMBNAIL**2).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True)
