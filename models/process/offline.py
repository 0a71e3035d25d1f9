"""Keeps libraries from reporting usage over the network and from writing into the user's home folder.

It runs when the package `models` is imported, and so before any of these libraries: every other package imports it.
"""

import os
import sys
from pathlib import Path


def stay_offline() -> None:
    # OpenVINO and NNCF report to Google Analytics, and write ~/intel, by this package. Without it they use stubs.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    # Ray reports to usage-stats.ray.io.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Keras writes its configuration where there is none. It cannot do that here, and goes by its defaults.
    if not Path(os.path.expanduser("~/.keras/keras.json")).exists():  # noqa: PTH111 - pathlib raises without a home
        os.environ.setdefault("KERAS_HOME", os.devnull)
