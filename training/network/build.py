"""The network of a run, as it is trained and as it is exported."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from models.networks.registry import architecture_of, build
from training.config.settings import Settings
from training.data.decoded import DecodedImages
from training.network.losses import CrossEntropy, accuracy
from training.network.optimizers import learning_rate, optimizer_for


def trainable(decoded: DecodedImages, settings: Settings, precision: str) -> keras.Model:
    """The network as it is trained: with its auxiliary heads, where it has some."""
    weight = architecture_of(settings.architecture).auxiliary_weight
    if not weight:
        return build_for(decoded, settings, precision)
    network = build_for(decoded, settings, precision, auxiliary=True)
    model = WithAuxiliaryHeads(network.input, network.output, name=network.name)
    model.auxiliary_weight = weight
    return model


class WithAuxiliaryHeads(keras.Model):
    """Logits of several heads, of which `logits` is the network's own and alone is measured."""

    auxiliary_weight: float

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Validation is without the auxiliary heads, as the exported network is."""
        loss = super().compute_loss(x, y, y_pred["logits"], sample_weight, training)
        auxiliary = [logits for name, logits in y_pred.items() if name != "logits"] if training else []
        return loss + self.auxiliary_weight * sum(self.loss(y, logits) for logits in auxiliary)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)


def without_auxiliary_heads(model: keras.Model) -> keras.Model:
    """The same layers, as many as lead to the network's own logits."""
    return keras.Model(model.input, model.output["logits"]) if isinstance(model.output, dict) else model


def build_for(decoded: DecodedImages, settings: Settings, precision: str, **options: Any) -> keras.Model:
    """The network in this precision; the global policy is put back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build(
            settings.architecture,
            input_shape=decoded.images.shape[1:],
            num_classes=len(decoded.class_names),
            dropout=settings.dropout if isinstance(settings.dropout, int | float) else None,
            scaling=settings.scaling,
            multi_stage=settings.multi_stage,
            **options,
        )
    finally:
        keras.config.set_dtype_policy(before)


def compile_for(
    model: keras.Model,
    settings: Settings,
    loss: CrossEntropy,
    *,
    num_steps: int,
    steps_per_epoch: int,
    new: Sequence[keras.Variable] = (),
) -> None:
    """
    Args:
        new: weights that learn alone in the first `freeze_epochs`.
    """
    rate = learning_rate(settings, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    optimizer = optimizer_for(settings, rate, model.trainable_variables)
    if new:
        optimizer.freeze(new, settings.freeze_epochs * steps_per_epoch)
    model.compile(optimizer, loss=loss, metrics=[keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")])


def with_mirror_images(network: keras.Model) -> keras.Model:
    """uint8 images (B, H, W, C) -> the mean of the network's logits for each and for its mirror image."""
    images = network.input
    return keras.Model(images, (network(images) + network(ops.flip(images, axis=2))) / 2)
