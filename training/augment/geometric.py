"""Where the pixels of an augmented image come from: moves by whole pixels, crops and turns by interpolation."""

from dataclasses import dataclass

import numpy as np

from training.config.augmentation import Edge

MID_GREY = 128  # 0 to a network


def shift(images: np.ndarray, down: np.ndarray, right: np.ndarray, mirrored: np.ndarray, edge: Edge) -> np.ndarray:
    """Shift each image by whole pixels (B,), then mirror those that are chosen (B,)."""
    height, width = images.shape[1:3]
    ys, xs = np.arange(height) + down[:, None], np.arange(width) + right[:, None]  # (B, H), (B, W)
    xs = np.where(mirrored[:, None], xs[:, ::-1], xs)
    inside_y, inside_x = reflected(ys, height), reflected(xs, width)
    channels = images.shape[-1]
    pixels = np.ascontiguousarray(images).reshape(-1).view(f"V{channels}")  # whole ones are faster than numbers
    first = np.arange(len(images))[:, None] * height
    places = ((first + inside_y) * width)[:, :, None] + inside_x[:, None, :]
    moved = pixels.take(places).view(np.uint8).reshape(images.shape)
    if edge == "grey":
        moved[(inside_y != ys)[:, :, None] | (inside_x != xs)[:, None, :]] = MID_GREY
    return moved


@dataclass(frozen=True, slots=True)
class CropParams:
    """What part of each image is seen, float (B,) each."""

    down: np.ndarray  # down, right: of the view's centre from the image's, in pixels
    right: np.ndarray
    tall: np.ndarray  # tall, wide: of the view, as fractions of height and width
    wide: np.ndarray
    angle: np.ndarray  # by which it is turned, in radians
    mirrored: np.ndarray  # bool


def warp(images: np.ndarray, crops: CropParams, edge: Edge) -> np.ndarray:
    """uint8 (B, H, W, C) -> the same shape, each image's view of it, by bilinear interpolation."""
    height, width = images.shape[1:3]
    y = (np.arange(height) - (height - 1) / 2).astype(np.float32)[None, :, None]
    x = (np.arange(width) - (width - 1) / 2).astype(np.float32)[None, None, :]
    x = np.where(crops.mirrored[:, None, None], -x, x)

    def column(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[:, None, None]

    y, x = y * column(crops.tall), x * column(crops.wide)
    middle = column(crops.down) + np.float32((height - 1) / 2), column(crops.right) + np.float32((width - 1) / 2)
    if crops.angle.any():
        cosine, sine = column(np.cos(crops.angle)), column(np.sin(crops.angle))
        ys, xs = cosine * y - sine * x + middle[0], sine * y + cosine * x + middle[1]  # (B, H, W) each
        seen = interpolate(images, ys, xs)
    else:
        ys, xs = y + middle[0], x + middle[1]  # (B, H, 1) and (B, 1, W)
        seen = np.stack([interpolate_upright(*view) for view in zip(images, ys[:, :, 0], xs[:, 0], strict=True)])
    if edge == "grey":
        outside = (ys < -0.5) | (ys > height - 0.5) | (xs < -0.5) | (xs > width - 0.5)
        seen[outside] = MID_GREY
    return seen


def interpolate(images: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """uint8 (B, H, W, C) at the places (B, H, W), by the four pixels around each; past an edge, the mirrored image."""
    size, height, width, channels = images.shape
    flat = images.reshape(-1, channels)
    first = (np.arange(size) * height * width)[:, None, None]
    top, left = np.floor(ys).astype(np.int64), np.floor(xs).astype(np.int64)
    below, beyond = (ys - top).astype(np.float32)[..., None], (xs - left).astype(np.float32)[..., None]
    rows = [first + reflected(top + i, height) * width for i in (0, 1)]
    columns = [reflected(left + i, width) for i in (0, 1)]
    upper = flat[rows[0] + columns[0]] * (1 - beyond) + flat[rows[0] + columns[1]] * beyond
    lower = flat[rows[1] + columns[0]] * (1 - beyond) + flat[rows[1] + columns[1]] * beyond
    return np.rint(upper * (1 - below) + lower * below).astype(np.uint8)


def interpolate_upright(image: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """The same of one image (H, W, C) at the rows (H,) and columns (W,), several times as fast: down, then along."""
    height, width, _ = image.shape
    top, left = np.floor(ys).astype(np.int64), np.floor(xs).astype(np.int64)
    below, beyond = (ys - top).astype(np.float32)[:, None, None], (xs - left).astype(np.float32)[None, :, None]
    rows = image[reflected(top, height)] * (1 - below) + image[reflected(top + 1, height)] * below
    seen = rows[:, reflected(left, width)] * (1 - beyond) + rows[:, reflected(left + 1, width)] * beyond
    return np.rint(seen).astype(np.uint8)


def cut_out(images: np.ndarray, tops: np.ndarray, lefts: np.ndarray, side: int) -> np.ndarray:
    """A mid-grey square in each image (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552); (B,) in pixels.

    Part of it may lie outside.
    """
    height, width = images.shape[1:3]
    ys, xs = np.arange(height) - tops[:, None], np.arange(width) - lefts[:, None]
    inside = ((ys >= 0) & (ys < side))[:, :, None] & ((xs >= 0) & (xs < side))[:, None, :]
    return np.where(inside[..., None], np.uint8(MID_GREY), images)


def spread(uniform: np.ndarray, largest: float) -> np.ndarray:
    """[0, 1) -> whole pixels in ± largest, each as likely."""
    whole = int(largest)
    return np.floor(uniform * (2 * whole + 1)).astype(np.int64) - whole


def reflected(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices past either end turned back at it, as often as need be."""
    if size == 1:
        return np.zeros_like(indices)
    indices = np.abs(indices) % (2 * (size - 1))
    return np.where(indices < size, indices, 2 * (size - 1) - indices)
