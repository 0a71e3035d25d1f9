"""What the views of a SavedModel share: the model, its engine, and the settings."""

from dataclasses import dataclass

import numpy as np
from flask import current_app

from service.config import Config
from service.errors import BadRequest
from service.look.engine import Engine
from service.look.kinds import listed
from service.look.saved_model import SavedModel


@dataclass(frozen=True, slots=True)
class Look:
    config: Config
    model: SavedModel
    engine: Engine

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs, of which none may be missing.

        Raises:
            ServiceError: as `check_names` and `Engine.infer`.
        """
        self.check_names(inputs)
        return self.engine.infer(inputs)

    def check_names(self, given: dict[str, np.ndarray]) -> None:
        """
        Raises:
            BadRequest: an input is missing.
        """
        missing = [name for name in self.model.inputs if name not in given]
        if missing:
            raise BadRequest(f"The input {missing[0]} is missing; the model takes {listed(self.model.inputs)}.")

    def check_input(self, name: str) -> None:
        """
        Raises:
            BadRequest: the model has no input of this name.
        """
        if name not in self.model.inputs:
            raise BadRequest(f"There is no input {name[:100]!r}; the model takes {listed(self.model.inputs)}.")


def look() -> Look:
    """The one of this process."""
    found: Look = current_app.extensions["look"]
    return found
