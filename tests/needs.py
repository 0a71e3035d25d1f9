"""Tests that take long: STRIATE_TEST_ALL=1 runs them, as `.ci/run` does; `make test` does without.

STRIATE_TEST_DEEP=1 also tries networks that differ from another one in their depth alone, and the longest benchmark,
for 30 minutes.
"""

import os
import shutil

import pytest

from training.weights.sources import MissingWeights, class_names

ALL = "STRIATE_TEST_ALL" in os.environ
LONG = pytest.mark.skipif(not ALL, reason="takes long: STRIATE_TEST_ALL=1 runs it")
DEEP = pytest.mark.skipif("STRIATE_TEST_DEEP" not in os.environ, reason="takes minutes: STRIATE_TEST_DEEP=1 runs it")
KILLS = int(os.environ.get("STRIATE_KILLS", "3" if ALL else "1"))  # of a process, at random moments


def have_weights() -> bool:
    try:
        class_names()
    except MissingWeights:
        return False
    return True


NEEDS_WEIGHTS = pytest.mark.skipif(not have_weights(), reason="requirements-pretrained.txt is not installed")


def needs(command: str) -> pytest.MarkDecorator:
    """A program that others wrote, which `.ci/run` installs."""
    return pytest.mark.skipif(not ALL and shutil.which(command) is None, reason=f"{command} is not installed here")
