"""LeNet-5 (LeCun et al., 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf), in its modern form.

Trained parameters at 32x32x1 and 10 classes: 61,706. The layers carry the paper's names, C1 to F6.
Departures: ReLU for scaled tanh, max-pooling for trainable subsampling, C3 sees every map of S2 instead of
the sparse Table 1, and a linear layer with softmax for the RBF output.
"""

import keras
from keras import layers

SMALLEST = 32  # pixels; the paper pads its 28x28 digits with background to this


def lenet5(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float | None = None) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        dropout: rate before the last layer; the paper has none, and that is the default.
    """
    images = keras.Input(input_shape, dtype="uint8", name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(pad_to_smallest(images))
    x = layers.Conv2D(6, 5, activation="relu", name="c1")(x)  # (B, 28, 28, 6)
    x = layers.MaxPooling2D(2, name="s2")(x)  # (B, 14, 14, 6)
    x = layers.Conv2D(16, 5, activation="relu", name="c3")(x)  # (B, 10, 10, 16)
    x = layers.MaxPooling2D(2, name="s4")(x)  # (B, 5, 5, 16)
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation="relu", name="c5")(x)  # a 5x5 convolution over 5x5 maps is dense
    x = layers.Dense(84, activation="relu", name="f6")(x)
    x = layers.Dropout(dropout or 0.0)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="lenet5")


def pad_to_smallest(images: keras.KerasTensor) -> keras.KerasTensor:
    """Centre images smaller than 32x32 on black, as the paper centres its digits on background."""
    missing = [max(0, SMALLEST - side) for side in images.shape[1:3]]
    if not any(missing):
        return images
    return layers.ZeroPadding2D(tuple((m // 2, m - m // 2) for m in missing), name="pad")(images)
