"""Train image classifiers with Keras, and serve them over HTTP.

    import striate

    run = striate.train("photographs", "pets")          # what `striate train` does
    classifier = striate.load(run.bundle)
    print(classifier.classify("cat.jpg").label)

`striate --help` lists the commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.version import VERSION

__version__ = VERSION
__all__ = ["Classification", "Classifier", "NotPublished", "Prediction", "Run", "UserError", "load", "train"]

if TYPE_CHECKING:
    from striate.api import Classification, Classifier, NotPublished, Prediction, Run, UserError, load, train


def __getattr__(name: str) -> Any:
    """The functions and classes above are imported when they are used: `striate --version` need not wait for them."""
    if name in __all__:
        return getattr(import_module("striate.api"), name)
    raise AttributeError(f"module 'striate' has no attribute {name!r}")
