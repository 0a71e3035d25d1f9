"""Class activation maps of a network, found in the graph that OpenVINO reads."""

from importlib import import_module
from typing import Any

import numpy as np

from models.insight.graph import back_from, compiled, logits_of, sources

EXACT = 1e-3  # how far the parts' sum may be from the logits, compared with the largest of them


class ClassActivation:
    """Class activation maps (Zhou et al., 2016, https://arxiv.org/abs/1512.04150).

    A network that averages feature maps and has linear layers after that might as well apply these layers at each place
    and average then. What they say at a place is that place's part in the logits. Feature maps of several sizes may be
    averaged and joined; each of them has a part.

    Args:
        features: from images to the feature maps that are averaged, in the order in which they are joined.
        head: from joined averages to logits.
        spatial: of each of them, the two axes that are averaged.
    """

    def __init__(self, features: Any, head: Any, spatial: list[list[int]]) -> None:
        self._features, self._head, self._spatial = features, head, spatial

    @classmethod
    def of(cls, core: Any, model: Any) -> "ClassActivation | None":
        """None where the layers before the probabilities do not average feature maps.

        Args:
            model: is changed.
        """
        openvino, opset = import_module("openvino"), import_module("openvino.opset13")
        logits = logits_of(model)
        joined, averages = find_averages(logits.get_node())
        if not averages:
            return None
        features = compiled(core, openvino.Model([each.input_value(0) for each in averages], model.get_parameters()))
        averaged = opset.parameter(joined.output(0).get_partial_shape(), np.float32)
        for reader in joined.output(0).get_target_inputs():
            reader.replace_source_output(averaged.output(0))
        head = compiled(core, openvino.Model([logits], [averaged]))
        return cls(features, head, [averaged_axes(each) for each in averages])

    def maps(self, image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray] | None:
        """Each place's part in each logit, float32 (h, w, num_classes), of all averaged feature maps; and the logits.

        The logits, float32 (num_classes,), are a constant and the sum of all parts.

        Args:
            image: uint8 (H, W, C).

        Returns:
            None where the layers after the averages are not linear.
        """
        found = self._features.infer([image[None]])
        features = [
            np.moveaxis(found[i][0], [axis - 1 for axis in axes], [0, 1])  # (h, w, channels)
            for i, axes in enumerate(self._spatial)
        ]
        averages = np.concatenate([each.mean((0, 1)) for each in features])
        rows, before = [np.stack([0 * averages, averages / 2, averages])], 0
        for each in features:
            after = averages.size - before - each.shape[-1]
            rows.append(np.pad(each.reshape(-1, each.shape[-1]), ((0, 0), (before, after))))
            before += each.shape[-1]
        logits = np.array(self._head.infer([np.concatenate(rows)])[0])
        expected = logits[2] - logits[0]
        parts, at = [], 3
        for each in features:
            places = each.shape[0] * each.shape[1]
            part = (logits[at : at + places] - logits[0]) / places
            parts.append(part.reshape(*each.shape[:2], -1))
            at += places
        of_all, of_half = sum(part.sum((0, 1)) for part in parts), 2 * (logits[1] - logits[0])
        difference = max(np.abs(of_all - expected).max(), np.abs(of_half - expected).max())
        return (parts, logits[2]) if difference <= EXACT * max(1.0, float(np.abs(expected).max())) else None


def find_averages(logits: Any) -> tuple[Any, list[Any]]:
    """The operation whose result the last layers take, and the averages over feature maps that it joins.

    No averages where something else is before these layers.
    """
    for operation in back_from(logits):
        if is_average(operation):
            return operation, [operation]
        if operation.get_type_name() == "Concat":
            ends = [next(filter(is_average, back_from(source)), None) for source in sources(operation)]
            return operation, [] if None in ends else ends
    return logits, []


def is_average(operation: Any) -> bool:
    """Over height and width, of feature maps (N, h, w, channels) or (N, channels, h, w)."""
    if operation.get_type_name() != "ReduceMean":
        return False
    axes = sorted(averaged_axes(operation))
    return operation.input_value(0).get_partial_shape().rank.get_length() == 4 and axes in ([1, 2], [2, 3])


def averaged_axes(operation: Any) -> list[int]:
    axes = operation.input_value(1).get_node()
    return [int(axis) % 4 for axis in axes.data.reshape(-1)] if axes.get_type_name() == "Constant" else []
