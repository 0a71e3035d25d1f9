"""What torchvision's networks compute from a state dict, in NumPy: names, order and layout are PyTorch's.

Written from torchvision's definitions of its modules, and without Keras or any code of `training.weights`: an image is
(C, H, W), a convolution's weight (O, I, h, w), a dense layer's (O, I), and features are flattened (C, H, W).
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

Tensors = Mapping[str, np.ndarray]

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
BLOCKS["resnet152"] = (3, 8, 36, 3)
ALEXNET = ((64, 11, 4, 2), "M", (192, 5, 1, 2), "M", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), "M")
VGG = {  # filters, and M for pooling
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg_b": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
}
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def answers(name: str, tensors: Tensors, image: np.ndarray) -> np.ndarray:
    """Logits of an image, uint8 (H, W, 3), after torchvision's ToTensor and Normalize."""
    x = ((image / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)
    tensors = {key: value.astype(np.float64) for key, value in tensors.items()}
    return resnet(tensors, x) if name.startswith("resnet") else features_and_classifier(name, tensors, x)


def resnet(tensors: Tensors, x: np.ndarray) -> np.ndarray:
    x = np.maximum(normalised(tensors, "bn1", convolved(x, tensors["conv1.weight"], stride=2, padding=3)), 0)
    x = pooled(x, 3, 2, padding=1)
    for stage in range(1, 5):
        blocks = sorted({int(key.split(".")[1]) for key in tensors if key.startswith(f"layer{stage}.")})
        for block in blocks:
            x = residual(tensors, f"layer{stage}.{block}", x, stride=2 if stage > 1 and block == 0 else 1)
    return tensors["fc.weight"] @ x.mean(axis=(1, 2)) + tensors["fc.bias"]


def residual(tensors: Tensors, place: str, x: np.ndarray, stride: int) -> np.ndarray:
    """BasicBlock, or Bottleneck with the stride in its 3x3."""
    bottleneck = f"{place}.conv3.weight" in tensors
    steps = ((1, 1, 0), (2, stride, 1), (3, 1, 0)) if bottleneck else ((1, stride, 1), (2, 1, 1))
    y = x
    for number, step, padding in steps:
        y = convolved(y, tensors[f"{place}.conv{number}.weight"], stride=step, padding=padding)
        y = normalised(tensors, f"{place}.bn{number}", y)
        if number < len(steps):
            y = np.maximum(y, 0)
    if f"{place}.downsample.0.weight" in tensors:
        x = convolved(x, tensors[f"{place}.downsample.0.weight"], stride=stride, padding=0)
        x = normalised(tensors, f"{place}.downsample.1", x)
    return np.maximum(x + y, 0)


def features_and_classifier(name: str, tensors: Tensors, x: np.ndarray) -> np.ndarray:
    """AlexNet and VGG, at a size at which their adaptive pooling does nothing."""
    number, norm = 0, name.endswith("_bn")
    for step in ALEXNET if name == "alexnet" else VGG[name.removesuffix("_bn")]:
        if step == "M":
            x = pooled(x, 3, 2) if name == "alexnet" else pooled(x, 2, 2)
            number += 1
            continue
        _, _, stride, padding = step if isinstance(step, tuple) else (step, 3, 1, 1)
        bias = tensors[f"features.{number}.bias"][:, None, None]
        x = convolved(x, tensors[f"features.{number}.weight"], stride=stride, padding=padding) + bias
        if norm:
            number += 1
            x = normalised(tensors, f"features.{number}", x)
        x = np.maximum(x, 0)
        number += 2
    x = x.ravel()
    numbers = sorted({int(key.split(".")[1]) for key in tensors if key.startswith("classifier.")})
    for number in numbers:
        x = tensors[f"classifier.{number}.weight"] @ x + tensors[f"classifier.{number}.bias"]
        x = x if number == numbers[-1] else np.maximum(x, 0)
    return x


def convolved(x: np.ndarray, kernel: np.ndarray, *, stride: int, padding: int) -> np.ndarray:
    """torch.nn.functional.conv2d without bias."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height, width = ((side - size) // stride + 1 for side, size in zip(x.shape[1:], kernel.shape[2:], strict=True))
    total = np.zeros((len(kernel), height * width))
    for i, j in np.ndindex(kernel.shape[2:]):
        part = x[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
        total += kernel[:, :, i, j] @ part.reshape(len(x), -1)
    return total.reshape(-1, height, width)


def pooled(x: np.ndarray, size: int, stride: int, *, padding: int = 0) -> np.ndarray:
    """torch.nn.MaxPool2d, whose padding is minus infinity."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride].max(axis=(3, 4))


def normalised(tensors: Tensors, name: str, x: np.ndarray) -> np.ndarray:
    """torch.nn.BatchNorm2d in evaluation, whose epsilon is 1e-5."""
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def state_dict(name: str, num_classes: int, *, side: int = 224, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors of the names and shapes that torchvision's network has, statistics included.

    Args:
        side: of the images, on which the first dense layer of AlexNet and VGG depends.
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for key, shape in shapes(name, num_classes, side):
        if key.endswith("num_batches_tracked"):
            tensors[key] = np.array(7, np.int64)
        elif key.endswith("running_var") or (len(shape) == 1 and re.search(r"bn\d|downsample\.1|\.norm", key)):
            tensors[key] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) == 1:
            tensors[key] = rng.normal(0, 0.1, shape).astype(np.float32)
        else:
            tensors[key] = rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
    return tensors


def shapes(name: str, num_classes: int, side: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    if name.startswith("resnet"):
        yield from resnet_shapes(name, num_classes)
        return
    channels, number = 3, 0
    for step in ALEXNET if name == "alexnet" else VGG[name.removesuffix("_bn")]:
        if step == "M":
            side = (side - 3) // 2 + 1 if name == "alexnet" else side // 2
            number += 1
            continue
        filters, size, stride, padding = step if isinstance(step, tuple) else (step, 3, 1, 1)
        side = (side + 2 * padding - size) // stride + 1
        yield from (
            (f"features.{number}.weight", (filters, channels, size, size)),
            (f"features.{number}.bias", (filters,)),
        )
        if name.endswith("_bn"):
            number += 1
            yield from norm_shapes(f"features.{number}", filters)
        channels, number = filters, number + 2
    first, second, third = (1, 4, 6) if name == "alexnet" else (0, 3, 6)
    for place, inputs, outputs in (
        (first, channels * side * side, 4096),
        (second, 4096, 4096),
        (third, 4096, num_classes),
    ):
        yield from ((f"classifier.{place}.weight", (outputs, inputs)), (f"classifier.{place}.bias", (outputs,)))


def resnet_shapes(name: str, num_classes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    bottleneck = int(name.removeprefix("resnet")) >= 50
    expansion, channels = (4, 64) if bottleneck else (1, 64)
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm_shapes("bn1", 64)
    for stage, count in enumerate(BLOCKS[name], start=1):
        width = 32 * 2**stage
        for block in range(count):
            place = f"layer{stage}.{block}"
            kernels = [(width, channels, 1), (width, width, 3), (4 * width, width, 1)]
            if not bottleneck:
                kernels = [(width, channels, 3), (width, width, 3)]
            for number, (filters, inputs, size) in enumerate(kernels, start=1):
                yield f"{place}.conv{number}.weight", (filters, inputs, size, size)
                yield from norm_shapes(f"{place}.bn{number}", filters)
            if block == 0 and (stage > 1 or bottleneck):
                yield f"{place}.downsample.0.weight", (expansion * width, channels, 1, 1)
                yield from norm_shapes(f"{place}.downsample.1", expansion * width)
            channels = expansion * width
    yield from (("fc.weight", (num_classes, channels)), ("fc.bias", (num_classes,)))


def norm_shapes(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()
