"""Models as other people make them, at tiny size: three classes by brightness, of bytes scaled to [-1, 1]."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SIDE = 16
CLASSES = ("dark", "middle", "bright")
WEIGHTS, BIAS = np.array([[-12.0, 0, 12]], np.float32), np.array([-4, 0.0, -4], np.float32)  # borders at -1/3 and 1/3


def shades(count: int, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, SIDE, SIDE, channels) of every brightness, and the position of each one's class in CLASSES."""
    generator = np.random.default_rng(0)
    levels = generator.permutation(np.linspace(8, 247, count)).round()
    noise = generator.integers(-8, 9, (count, SIDE, SIDE, channels))
    images = np.clip(levels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    return images, np.digitize(levels / 127.5 - 1, [-1 / 3, 1 / 3])


def keras_model(activation: str | None = "softmax", channels: int = 3) -> keras.Model:
    images = keras.Input((SIDE, SIDE, channels))
    brightness = keras.layers.GlobalAveragePooling2D()(images)
    dense = keras.layers.Dense(3, activation=activation, name="predictions")
    model = keras.Model(images, dense(brightness), name="brightness")
    dense.set_weights([np.repeat(WEIGHTS, channels, axis=0) / channels, BIAS])
    return model


def logits_of(images: tf.Tensor) -> tf.Tensor:
    """(B, SIDE, SIDE, 3) in [-1, 1] -> (B, 3)."""
    return tf.reduce_mean(images, (1, 2, 3))[:, None] * WEIGHTS + BIAS


def saved_model(
    folder: Path,
    call: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    spec: tf.TensorSpec,
    signature: str = "serving_default",
) -> Path:
    """A SavedModel of one function, as `tf.saved_model.save` writes it."""
    module = tf.Module()
    module.function = tf.function(call, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={signature: module.function})
    return folder


def tensorflow_1_model(folder: Path) -> Path:
    """As TensorFlow 1 wrote for TensorFlow Serving: encoded images in, the best classes' names and scores out."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        encoded = tf.compat.v1.placeholder(tf.string, (None,), "image_bytes")
        images = tf.map_fn(decode, encoded, fn_output_signature=tf.float32)
        weights = tf.compat.v1.get_variable("weights", initializer=WEIGHTS)
        scores = tf.nn.softmax(tf.reduce_mean(images, (1, 2, 3))[:, None] * weights + BIAS)
        names = tf.tile(tf.constant([CLASSES]), (tf.shape(scores)[0], 1))
        session.run(tf.compat.v1.global_variables_initializer())
        build = tf.compat.v1.saved_model.build_signature_def
        info = tf.compat.v1.saved_model.build_tensor_info
        signature = build(
            {"inputs": info(encoded)},
            {"classes": info(names), "scores": info(scores)},
            "tensorflow/serving/classify",
        )
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return folder


def decode(data: tf.Tensor) -> tf.Tensor:
    image = tf.image.resize(tf.io.decode_image(data, 3, expand_animations=False), (SIDE, SIDE))
    return tf.ensure_shape(image, (SIDE, SIDE, 3)) / 127.5 - 1
