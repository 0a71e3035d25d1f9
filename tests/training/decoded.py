"""Decoded images for tests that need no files."""

import hashlib

import numpy as np

from training.data.decoded import FILE, DecodedImages
from training.data.duplicates import THUMBNAIL, group_duplicates
from training.data.index import SPLITS
from training.data.path_table import Paths
from training.data.split import Split


def decoded_images(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    hashes: list[str] | None = None,
    splits: list[str] | None = None,
    thumbnails: np.ndarray | None = None,
) -> DecodedImages:
    """uint8 (N, H, W, C) with labels; hashes of the pixels, no split and thumbnails that show nothing unless given."""
    count = len(images)
    files = np.zeros(count, FILE)
    files["label"], files["split"] = labels, [SPLITS.index(split) for split in splits or [""] * count]
    hashes = hashes or [content_hash(image.tobytes()) for image in images]
    files["sha256"] = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(count, 32)
    files["pixels"] = files["sha256"][:, :8].copy().view(np.uint64)[:, 0]  # as if equal files alone had equal pixels
    if thumbnails is None:
        thumbnails = np.zeros((count, THUMBNAIL, THUMBNAIL), np.uint8)
    files["group"], files["look"] = group_duplicates(files["pixels"], thumbnails, files["label"])
    return DecodedImages(
        class_names=tuple(f"class {i}" for i in range(int(labels.max()) + 1)),
        images=images,
        labels=labels.astype(np.int64),
        files=files,
        thumbnails=thumbnails,
        paths=Paths.of(f"{i}.png" for i in range(count)),
        unreadable={},
    )


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def random_hashes(count: int, *, seed: int = 0) -> list[str]:
    """As of `count` different files."""
    return [content_hash(f"{seed} {i}".encode()) for i in range(count)]


def separable(count: int = 64, *, channels: int = 1, seed: int = 0) -> DecodedImages:
    """Two classes that a network tells apart at once: noise that is darker or lighter, 32x32 pixels."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(seed).integers(0, 100, (count, 32, 32, channels), dtype=np.uint8)
    return decoded_images(noise + (120 * labels[:, None, None, None]).astype(np.uint8), labels)


def shuffled_labels(count: int = 64, *, seed: int = 0) -> DecodedImages:
    """Noise whose labels nothing explains: a network learns them by heart, and gets worse at all others."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)
    return decoded_images(images, rng.permutation(np.arange(count) % 2))


def halves_and_quarters(decoded: DecodedImages) -> Split:
    """Half to train, a quarter to validate, a quarter to test."""
    rows = np.arange(len(decoded.labels))
    quarter = len(rows) // 4
    return Split(rows[2 * quarter :], rows[:quarter], rows[quarter : 2 * quarter])
