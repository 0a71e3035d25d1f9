"""What people use for few photographs, reproduced on one backbone: each learns from images and answers others.

The settings follow the defaults of the guides and libraries that the names say; none of the libraries itself is used.
Known departures: fastai also trains the backbone's batch normalisation, which is frozen here, and warps images; the
learning rate of Model Maker hardly decays in a short run, and here it decays to 0.

Where only the last layers learn, the backbone's answers are computed once an epoch. That gives what computing them in
each step gives, since its batch normalisation is frozen.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from training.evaluate.calibration import softmax
from training.fit.frozen import Frozen
from training.weights.pretrained import from_package

BATCH = 64


class Task(NamedTuple):
    """uint8 images (N, S, S, 3) to learn from with their labels, and images (M, S, S, 3) to answer."""

    network: str
    images: np.ndarray
    labels: np.ndarray
    asked: np.ndarray
    num_classes: int
    seed: int


class Rate(NamedTuple):
    """A learning rate that rises to its peak in the first part of the steps, and falls as a cosine after it."""

    peak: float
    rise: float  # fraction of the steps
    first: float = 0.0  # what it rises from, and what it falls to, as fractions of the peak
    last: float = 0.0

    def at(self, done: float) -> float:
        """Of a fraction of the steps."""
        begin, end = (self.first, 1.0) if done < self.rise else (1.0, self.last)
        part = done / self.rise if done < self.rise else (done - self.rise) / (1 - self.rise)
        return float(self.peak * (end + (begin - end) * (1 + np.cos(np.pi * part)) / 2))


def logistic_regression(task: Task) -> np.ndarray:
    """scikit-learn's logistic regression as it comes, on standardised pooled features."""
    with threadpool_limits(1):
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        body = Frozen(backbone(task, ["pooled"]))
        every = np.arange(len(task.images))
        regression.fit(body.of_all(task.images, every)[0], task.labels)
        return regression.predict_proba(body.of_all(task.asked, np.arange(len(task.asked)))[0])


def keras_guide(task: Task) -> np.ndarray:
    """https://keras.io/guides/transfer_learning: 20 epochs of the last layer by Adam, then 10 of everything at 1e-5.

    Batch normalisation stays in inference mode; flips and rotations augment.
    """
    keras.utils.set_random_seed(task.seed)
    augment = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    head = keras.Sequential([layers.Dropout(0.2), layers.Dense(task.num_classes)])
    body = backbone(task, ["pooled"])
    train_head(task, body, head, augment, keras.optimizers.Adam(1e-3), epochs=20)
    train_all(task, body, head, augment, [(keras.optimizers.Adam(), 1.0)], Rate(1e-5, 0, last=1), epochs=10)
    return answers(body, head, task.asked)


def model_maker(task: Task) -> np.ndarray:
    """Defaults of MediaPipe Model Maker: the last layer in batches of 2, RMSprop, warm-up, smoothed labels."""
    keras.utils.set_random_seed(task.seed)
    augment = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomZoom((-0.3, 0.0))])
    head = keras.Sequential(
        [layers.Dropout(0.2), layers.Dense(task.num_classes, kernel_regularizer=keras.regularizers.L2(1e-4))]
    )
    body = backbone(task, ["pooled"])
    optimizer = keras.optimizers.RMSprop(1e-3, rho=0.9, momentum=0.9, epsilon=1e-3)
    train_head(task, body, head, augment, optimizer, epochs=10, batch=2, smoothing=0.1, rate=Rate(1e-3, 0.2))
    return answers(body, head, task.asked)


def fastai_head(task: Task) -> np.ndarray:
    """A learner of fastai that stays frozen: 10 epochs of its head in one cycle, AdamW at 1e-3."""
    keras.utils.set_random_seed(task.seed)
    body, head = backbone(task, ["pooled", "highest"]), fastai_layers(task.num_classes)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01)
    rate = Rate(1e-3, 0.25, 1 / 25, 1e-5)
    train_head(task, body, head, fastai_augmentation(), optimizer, epochs=10, rate=rate, drop_last=True)
    return answers(body, head, task.asked)


def fastai_fine_tune(task: Task) -> np.ndarray:
    """`fine_tune(5)` of fastai: one frozen epoch at 2e-3, then five of everything, the body at a hundredth of 1e-3."""
    keras.utils.set_random_seed(task.seed)
    body, head = backbone(task, ["pooled", "highest"]), fastai_layers(task.num_classes)
    augment = fastai_augmentation()
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=0.01)
    train_head(task, body, head, augment, optimizer, epochs=1, rate=Rate(2e-3, 0.99, 1 / 25, 1e-5), drop_last=True)
    both = [(keras.optimizers.AdamW(weight_decay=0.01), 0.01), (keras.optimizers.AdamW(weight_decay=0.01), 1.0)]
    train_all(task, body, head, augment, both, Rate(1e-3, 0.3, 1 / 5, 1e-5), epochs=5, drop_last=True)
    return answers(body, head, task.asked)


PEERS: dict[str, Callable[[Task], np.ndarray]] = {
    "scikit-learn on features": logistic_regression,
    "Keras guide": keras_guide,
    "Model Maker": model_maker,
    "fastai, head": fastai_head,
    "fastai, fine_tune(5)": fastai_fine_tune,
}


def fastai_layers(num_classes: int) -> keras.Sequential:
    return keras.Sequential(
        [
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.Dropout(0.25),
            layers.Dense(512, activation="relu", use_bias=False),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.Dropout(0.5),
            layers.Dense(num_classes, use_bias=False),
        ]
    )


def fastai_augmentation() -> keras.Sequential:
    """Flips, 10 degrees, a tenth of zoom, two tenths of light, as `aug_transforms` has them; no warp."""
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(10 / 360, fill_mode="reflect"),
            layers.RandomZoom((-0.1, 0.0)),
            layers.RandomBrightness(0.1, value_range=(0, 255)),
            layers.RandomContrast(0.2, value_range=(0, 255)),
        ]
    )


def backbone(task: Task, outputs: list[str]) -> keras.Model:
    """Published weights: images (B, S, S, 3) -> features (B, F), the mean of the last maps, beside their maxima."""
    network = from_package(task.network).network
    maps = network.get_layer("stage9_relu6").output
    pools = {"pooled": layers.GlobalAveragePooling2D, "highest": layers.GlobalMaxPooling2D}
    features = [pools[name]()(maps) for name in outputs]
    return keras.Model(network.input, features[0] if len(features) == 1 else layers.Concatenate()(features))


def train_head(
    task: Task,
    body: keras.Model,
    head: keras.Model,
    augment: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    epochs: int,
    batch: int = BATCH,
    smoothing: float = 0.0,
    rate: Rate | None = None,
    drop_last: bool = False,
) -> None:
    frozen = Frozen(body)
    head.build((None, body.output.shape[-1]))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    head.compile(optimizer, loss)
    targets = keras.utils.to_categorical(task.labels, task.num_classes)
    order = np.random.default_rng(task.seed)
    for epoch in range(epochs):
        views = augmented(augment, task.images)
        features = frozen.of_all(views, np.arange(len(views)))[0]
        parts = list(shuffled(order, len(views), batch, drop_last=drop_last))
        for i, rows in enumerate(parts):
            if rate:
                optimizer.learning_rate = rate.at((epoch + i / len(parts)) / epochs)
            head.train_on_batch(features[rows], targets[rows])


def train_all(
    task: Task,
    body: keras.Model,
    head: keras.Model,
    augment: keras.Model,
    optimizers: list[tuple[keras.optimizers.Optimizer, float]],
    rate: Rate,
    *,
    epochs: int,
    drop_last: bool = False,
) -> None:
    """Steps of everything. One optimizer has all weights; of two, the first has the body's, each with its part of the
    rate.
    """
    groups = [body.trainable_variables, head.trainable_variables]
    if len(optimizers) == 1:
        groups = [groups[0] + groups[1]]
    for (optimizer, _), variables in zip(optimizers, groups, strict=True):
        optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = head(body(images, training=False), training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        for (optimizer, _), gradients in zip(optimizers, tape.gradient(loss, groups), strict=True):
            optimizer.apply(gradients)

    order = np.random.default_rng(task.seed)
    for epoch in range(epochs):
        parts = list(shuffled(order, len(task.images), BATCH, drop_last=drop_last))
        for i, rows in enumerate(parts):
            for optimizer, part in optimizers:
                optimizer.learning_rate = part * rate.at((epoch + i / len(parts)) / epochs)
            step(tf.constant(augmented(augment, task.images[rows])), tf.constant(task.labels[rows]))


def shuffled(order: np.random.Generator, count: int, batch: int, *, drop_last: bool) -> Iterator[np.ndarray]:
    """Rows of batches; `drop_last` leaves out a last one that is not full, as fastai does."""
    rows = order.permutation(count)
    batch = min(batch, count)
    end = count - batch + 1 if drop_last else count
    return (rows[i : i + batch] for i in range(0, end, batch))


def augmented(augment: keras.Model, images: np.ndarray) -> np.ndarray:
    """uint8 (N, S, S, 3)."""
    parts = [augment(images[i : i + BATCH].astype("float32"), training=True) for i in range(0, len(images), BATCH)]
    return np.concatenate([np.asarray(part).round().clip(0, 255).astype(np.uint8) for part in parts])


def answers(body: keras.Model, head: keras.Model, images: np.ndarray) -> np.ndarray:
    """Probabilities (N, num_classes)."""
    features = Frozen(body).of_all(images, np.arange(len(images)))[0]
    return softmax(head.predict(features, verbose=0))
