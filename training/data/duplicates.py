"""Images that are the same picture: re-encoded, scaled or brightened copies, which belong on one side of a split.

Two images are near where the grey thumbnails of both, 16x16 pixels, correlate; images that near pairs connect are one
group. To find the pairs without comparing all, every thumbnail gets a perceptual hash: on which side of random
hyperplanes it lies (Charikar, 2002, https://doi.org/10.1145/509907.509965). Those of one picture agree in most bits,
and so in some band of them.

A group that is too large is assumed to show images of one kind, such as scans of one form, and not copies. Its pairs
then need a higher correlation, which is raised until no group is too large for one split.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

THUMBNAIL = 16  # pixels a side
NUM_BANDS = 16
BAND_BITS = 16  # at a correlation of 0.97 a band agrees with probability 0.27, and some band of 16 with 0.99
MAX_BIT_DIFFERENCE = 48  # of 256, before thumbnails are compared; 20 are expected at 0.97
NUM_NEIGHBOURS = 32  # number of images that each image of a crowded band is compared with
LEAST_CORRELATION = 0.97  # of near duplicates; those of CIFAR-10 down to 0.95 were true, looked at by eye
STRICTER = (*(1 - np.geomspace(1 - LEAST_CORRELATION, 0.0005, 12)[1:]), np.inf)  # np.inf: no two images are near
LEAST_DEVIATION = 4.0  # of a thumbnail's pixels; below, a picture shows nothing that another could be taken for
LARGEST_SHARE = 0.05  # of the different pictures of a class, that may be one group
LARGEST_GROUP = 20  # different pictures that may be one group however small their class is
BLOCK = 1 << 13  # images or pairs at a time, so that memory does not grow with the data set
MAX_FOUND = 1 << 21  # near pairs that are kept until those that connect nothing new are dropped
PAIR = np.dtype([("first", np.int32), ("second", np.int32), ("correlation", np.float32)])


def group_duplicates(pixels: np.ndarray, thumbnails: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image the first row of its group, and that of all images that look like it; int64 (N,) each.

    The two differ where a group was too large, and was cut.

    Args:
        pixels: uint64 (N,), hashes of the decoded images; equal ones are always of one group, however many.
        thumbnails: uint8 (N, 16, 16).
        labels: integers (N,); the size limit of a group depends on the largest class among its images.
    """
    _, rows, copies = np.unique(pixels, return_index=True, return_inverse=True)
    order = np.argsort(rows)
    rows, copies = rows[order], np.argsort(order)[copies]  # different pictures, by their first row
    pairs = near_pairs(thumbnails, rows)
    looks = groups = connected(pairs, len(rows))
    for correlation in STRICTER:
        crowded = is_crowded(groups, labels[rows])
        if not crowded.any():
            break
        pairs = pairs[~crowded[pairs["first"]] | (pairs["correlation"] >= correlation)]
        groups = connected(pairs, len(rows))
    return rows[groups][copies], rows[looks][copies]


def is_crowded(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """bool (N,): the images whose group is too large."""
    sizes = np.bincount(groups, minlength=len(groups))
    largest_class = np.zeros_like(sizes)
    np.maximum.at(largest_class, groups, np.bincount(labels)[labels])
    crowded: np.ndarray = (sizes > np.maximum(LARGEST_GROUP, LARGEST_SHARE * largest_class))[groups]
    return crowded


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """int64 (count,): the first of the images that pairs connect each with, itself included."""
    _, components = connected_components(graph_of(pairs, count), directed=False)
    _, first, components = np.unique(components, return_index=True, return_inverse=True)
    return first[components]


def join_groups(near: np.ndarray, given: np.ndarray) -> np.ndarray:
    """int64 (N,): for each image the first row of those that either kind of group connects it with, over any number.

    Args:
        near: int64 (N,), the first row of each image's near duplicates.
        given: integers (N,), the same for images of one group, negative for those of none.
    """
    rows = np.flatnonzero(given >= 0)
    _, first, inverse = np.unique(given[rows], return_index=True, return_inverse=True)
    ends = np.concatenate([near, rows[first][inverse]]), np.concatenate([np.arange(len(near)), rows])
    graph = csr_array((np.ones(len(ends[0])), ends), shape=(len(near), len(near)))
    _, components = connected_components(graph, directed=False)
    _, earliest, components = np.unique(components, return_index=True, return_inverse=True)
    return earliest[components]


def near_pairs(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """PAIR (P,): pairs of near duplicates as positions in `rows`; they connect the same images as all such pairs.

    They are a maximum spanning forest of all near pairs: whichever correlation is asked for, these connect what all
    pairs would.
    """
    shown = np.flatnonzero(has_contrast(thumbnails, rows))  # the others would all be candidates of each other
    found, num_found = [np.empty(0, PAIR)], 0
    for first, second in candidates(perceptual_hashes(thumbnails, rows[shown])):
        correlation = correlations(thumbnails, rows[shown[first]], rows[shown[second]])
        near = np.flatnonzero(correlation >= LEAST_CORRELATION)
        if not len(near):
            continue
        pairs = np.empty(len(near), PAIR)
        pairs["first"], pairs["second"] = shown[first[near]], shown[second[near]]
        pairs["correlation"] = correlation[near]
        found.append(pairs)
        num_found += len(pairs)
        if num_found > MAX_FOUND:
            found, num_found = [spanning_forest(np.concatenate(found), len(rows))], 0
    return spanning_forest(np.concatenate(found), len(rows))


def spanning_forest(pairs: np.ndarray, count: int) -> np.ndarray:
    """Of PAIR (P,), in which a pair may be repeated, the closest that connect the same images."""
    codes = pairs["first"].astype(np.int64) * count + pairs["second"]
    _, once = np.unique(codes, return_index=True)
    tree = minimum_spanning_tree(graph_of(pairs[once], count)).tocoo()
    forest = np.empty(tree.nnz, PAIR)
    forest["first"], forest["second"], forest["correlation"] = tree.row, tree.col, 2 - tree.data
    return forest


def graph_of(pairs: np.ndarray, count: int) -> csr_array:
    """Closer images have shorter edges; a sparse graph would treat a length of 0 as no edge."""
    return csr_array((2 - pairs["correlation"], (pairs["first"], pairs["second"])), shape=(count, count))


def has_contrast(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """bool (N,), for each of the rows."""
    blocks = (thumbnails[rows[start : start + BLOCK]] for start in range(0, len(rows), BLOCK))
    return np.concatenate([np.empty(0, bool), *(block.std(axis=(1, 2)) >= LEAST_DEVIATION for block in blocks)])


def perceptual_hashes(thumbnails: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """uint16 (N, 16): 16 bands of 16 bits, for each of the rows."""
    planes = np.random.default_rng(0).normal(size=(THUMBNAIL**2, NUM_BANDS * BAND_BITS)).astype(np.float32)
    hashes = np.empty((len(rows), NUM_BANDS), np.uint16)
    for start in range(0, len(rows), BLOCK):
        bits = centred(thumbnails[rows[start : start + BLOCK]]) @ planes > 0
        hashes[start : start + BLOCK] = np.packbits(bits, axis=1).view(np.uint16)
    return hashes


def candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of pairs, int64 (P,) the earlier and (P,) the later, that share a band and differ in few bits."""
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
                pairs = np.sort(np.stack([order[block], order[block + distance]]), axis=0)
                differing = np.bitwise_count(hashes[pairs[0]] ^ hashes[pairs[1]]).sum(axis=1, dtype=np.int64)
                first, second = pairs[:, differing <= MAX_BIT_DIFFERENCE]
                yield first, second


def correlations(thumbnails: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 (P,): of the pairs of these rows, which both show something."""
    ours, theirs = centred(thumbnails[first]), centred(thumbnails[second])

    def products(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ij->i", some, others)

    found: np.ndarray = products(ours, theirs) / np.sqrt(products(ours, ours) * products(theirs, theirs))
    return found


def centred(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (N, 16, 16) -> float32 (N, 256) with a mean of 0 each."""
    flat = thumbnails.reshape(-1, THUMBNAIL**2).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True)
