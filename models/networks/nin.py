"""Network in Network (Lin et al., 2013, https://arxiv.org/abs/1312.4400): the network for CIFAR-10 of its section 4.

Trained parameters at 10 classes and three channels: 966,986. There is no dense layer: the last 1x1 convolution makes a
map for each class, and a map's mean is the class's logit.
The widths, and average pooling after the second block, are those of the configuration that the authors published.
Departures: weights drawn as He et al. (2015) do; no ReLU on the last maps, so that a logit may be negative;
images in [-1, 1] and not whitened.
"""

import keras
from keras import layers

from models.networks.architecture import Architecture, Paper
from models.networks.layers import Tensor, conv, relu, scaled_images

PAPER = Paper("Lin et al.", 2013, "https://arxiv.org/abs/1312.4400")
MLPCONVS = (  # (kernel size, filters of the convolution and of the two 1x1 that follow, pooling)
    (5, (192, 160, 96), layers.MaxPooling2D),  # 32 -> 16
    (5, (192, 192, 192), layers.AveragePooling2D),  # 16 -> 8
)


def nin(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.5) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes). Dropout as in the paper."""
    images, x = scaled_images(input_shape)
    for i, (kernel_size, filters, pool) in enumerate(MLPCONVS, start=1):
        x = mlpconv(x, kernel_size, filters, f"mlpconv{i}")
        x = pool(3, strides=2, padding="same", name=f"pool{i}")(x)
        x = layers.Dropout(dropout)(x)
    x = mlpconv(x, 3, (192, 192), "mlpconv3")
    x = conv(x, num_classes, 1, name="mlpconv3_classes")
    return keras.Model(images, layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x), name="nin")


def mlpconv(x: Tensor, kernel_size: int, filters: tuple[int, ...], name: str) -> Tensor:
    """Figure 1b: a small multilayer perceptron that slides over the image, as a convolution and 1x1 convolutions."""
    first, *others = filters
    x = relu(conv(x, first, kernel_size, name=name), f"{name}_relu")
    for i, width in enumerate(others, start=1):
        x = relu(conv(x, width, 1, name=f"{name}_1x1_{i}"), f"{name}_1x1_{i}_relu")
    return x


NETWORKS = (Architecture("nin", nin, PAPER, (32, 32, 3), 10),)
