"""An explaining process. `python -m service.explain` is started by an HTTP worker only; see `process`."""

import json
import os
import signal
import socket
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np

from models.insight.explanation import TooSlow, explain
from models.insight.network import Network
from models.insight.similar import Album
from models.process.parent import die_with_parent
from service.explain.messages import Question, Refusal, Reply, read, write

REST = 1.0  # of the time in which masks were computed: caches and memory are shared, whatever the priority
MOST_NETWORKS = 2  # that are kept; another takes the place of the one that was not asked for longest


def main(worker: int, connection: int) -> None:
    die_with_parent(signal.SIGKILL, worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor
    connected = socket.socket(fileno=connection)
    connected.setblocking(True)  # gevent, in the worker, has made both sides non-blocking
    file = connected.makefile("rwb")
    networks = Networks()
    while (question := read(file, Question)) is not None:
        write(file, networks.answer(question))


class Networks:
    """Those that were asked for last."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[tuple[str, int], Network] = OrderedDict()

    def answer(self, question: Question) -> Reply:
        try:
            network = self._load(Path(question.bundle))
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            return Reply(refusal=Refusal("unreadable", str(error)))
        image = np.frombuffer(question.pixels, np.uint8).reshape(question.shape)
        if question.what == "similar":
            album = Album.of(Path(question.bundle))
            if album is None:
                return Reply(refusal=Refusal("none", ""))
            return Reply(similar=album.similar(network, image))
        try:
            found = explain(network, image, question.index, question.until, is_multi=question.is_multi, rest=REST)
        except TooSlow as error:
            return Reply(refusal=Refusal("slow", str(error)))
        return Reply(explanation=found)

    def _load(self, bundle: Path) -> Network:
        """
        Raises:
            OSError: it is gone.
            RuntimeError, ValueError: OpenVINO cannot read it, or it gives no probabilities.
        """
        key = str(bundle), bundle.stat().st_ino  # a version may be deleted and published again
        if key not in self._loaded:
            self._loaded[key] = Network(bundle)
        self._loaded.move_to_end(key)
        while len(self._loaded) > MOST_NETWORKS:
            self._loaded.popitem(last=False)
        return self._loaded[key]


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
    os._exit(0)
