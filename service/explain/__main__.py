"""An explaining process. `python -m service.explain` is started by an HTTP worker only; see `process`."""

import json
import os
import signal
import socket
import sys
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np

from models.insight.explanation import TooSlow, explain
from models.insight.layers import Stages, read_layers
from models.insight.network import Network
from models.insight.similar import Album
from models.process.parent import die_with_parent
from service.explain.messages import Question, Refusal, Reply, read, write

REST = 1.0  # of the time in which masks were computed: caches and memory are shared, whatever the priority
NO_ALBUM = Reply(
    refusal=Refusal("none", "This version shows no training images. `striate train --thumbnails` makes one that does.")
)
NO_LAYERS = Reply(refusal=Refusal("none", "This version has no table of its layers. Train it again."))
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


class Opened:
    """A bundle; what is not asked for is not loaded."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle

    @cached_property
    def network(self) -> Network:
        return Network(self._bundle)

    @cached_property
    def album(self) -> Album | None:
        return Album.of(self._bundle)

    @cached_property
    def stages(self) -> Stages | None:
        layers = read_layers(self._bundle)
        return None if layers is None else Stages(self._bundle, layers)

    def answer(self, question: Question, image: np.ndarray) -> Reply:
        """
        Raises:
            TooSlow: too few masks could be computed in time.
            OSError, RuntimeError, ValueError, BrokenBundle: a file is gone or damaged, or OpenVINO cannot read it.
        """
        if question.what == "similar":
            album = self.album
            return NO_ALBUM if album is None else Reply(similar=album.similar(self.network, image))
        if question.what == "layers":
            return NO_LAYERS if self.stages is None else Reply(layers=self.stages.draw(image))
        found = explain(self.network, image, question.index, question.until, is_multi=question.is_multi, rest=REST)
        return Reply(explanation=found)


class Networks:
    """Those that were asked for last."""

    def __init__(self) -> None:
        self._opened: OrderedDict[tuple[str, int], Opened] = OrderedDict()

    def answer(self, question: Question) -> Reply:
        image = np.frombuffer(question.pixels, np.uint8).reshape(question.shape)
        try:
            return self._open(Path(question.bundle)).answer(question, image)
        except TooSlow as error:
            return Reply(refusal=Refusal("slow", str(error)))
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            return Reply(refusal=Refusal("unreadable", str(error)))

    def _open(self, bundle: Path) -> Opened:
        """
        Raises:
            OSError: it is gone.
        """
        key = str(bundle), bundle.stat().st_ino  # a version may be deleted and published again
        opened = self._opened.setdefault(key, Opened(bundle))
        self._opened.move_to_end(key)
        while len(self._opened) > MOST_NETWORKS:
            self._opened.popitem(last=False)
        return opened


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
    os._exit(0)
