"""A network for explanations: its probabilities, and what it sees at each place where its last layers can tell."""

from importlib import import_module
from pathlib import Path

import numpy as np

from models.insight.class_activation import ClassActivation
from models.insight.graph import compiled, features_of


class Network:
    """A bundle's SavedModel in float32.

    Attributes:
        shape: of its images, (height, width, channels).
        num_features: F, of what its last dense layer takes; 0 of a network that does not end in one.
        class_activation: computes class activation maps; None of a network that has none.

    Raises:
        RuntimeError: OpenVINO cannot read the bundle.
        ValueError: it gives no probabilities.
    """

    def __init__(self, bundle: Path) -> None:
        core = import_module("openvino").Core()
        model = core.read_model(bundle)
        features = features_of(model)
        self._output = [output.get_any_name() for output in model.outputs].index("probabilities")
        self._features = len(model.outputs)
        self.num_features = 0
        if features is not None:
            model.add_outputs([features])
            self.num_features = features.get_partial_shape()[1].get_length()
        self._request = compiled(core, model)
        self.shape: tuple[int, int, int] = tuple(model.inputs[0].get_partial_shape().get_min_shape()[1:])
        self.class_activation = ClassActivation.of(core, core.read_model(bundle))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, num_classes) of uint8 images (N, H, W, C)."""
        return self.look(images)[0]

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, num_classes) and features (N, F), float32, of uint8 images (N, H, W, C)."""
        found = self._request.infer([images])
        features = found[self._features] if self.num_features else np.zeros((len(images), 0), np.float32)
        return np.array(found[self._output]), np.array(features)
