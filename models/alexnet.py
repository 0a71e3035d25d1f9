"""AlexNet in the one-tower form of "One weird trick" (Krizhevsky, 2014, https://arxiv.org/abs/1404.5997).

Trained parameters at 224x224x3: 61,100,840 at 1000 classes, 57,044,810 at 10. CONVOLUTIONS is the network of
its section 5 up to the classifier; dropout and overlapping pooling are those of the 2012 paper.
"""

import keras
from keras import layers

SMALLEST = 63  # pixels; anything less leaves nothing to pool after the last convolution

CONVOLUTIONS = (  # (filters, kernel size, stride, padding on each side, pooled afterwards)
    (64, 11, 4, 2, True),  # 224 -> 55 -> 27
    (192, 5, 1, 2, True),  # 27 -> 13
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),  # 13 -> 6
)


def alexnet(*, input_shape: tuple[int, int, int], num_classes: int, dropout: float | None = None) -> keras.Model:
    """uint8 images (B, H, W, C) -> float32 logits (B, num_classes).

    Args:
        dropout: rate before each of the two hidden dense layers; the paper's 0.5 by default.

    Raises:
        ValueError: the input is smaller than 63x63.
    """
    if min(input_shape[:2]) < SMALLEST:
        raise ValueError(f"alexnet needs images of at least {SMALLEST}x{SMALLEST} pixels, not {input_shape}.")
    rate = 0.5 if dropout is None else dropout
    images = keras.Input(input_shape, dtype="uint8", name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(images)
    for filters, kernel_size, strides, padding, pooled in CONVOLUTIONS:
        x = layers.ZeroPadding2D(padding)(x)  # symmetric, which Keras's "same" is not at stride 4
        x = layers.Conv2D(filters, kernel_size, strides=strides, activation="relu", kernel_initializer="he_normal")(x)
        if pooled:
            x = layers.MaxPooling2D(3, strides=2)(x)
    x = layers.Flatten()(x)  # (B, 9216) at 224x224
    for _ in range(2):
        x = layers.Dropout(rate)(x)
        x = layers.Dense(4096, activation="relu", kernel_initializer="he_normal")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="alexnet")
