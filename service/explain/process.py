"""One explaining process, as the HTTP worker that has started it sees it."""

import json
import os

from gevent import socket, subprocess

from models.process.children import python_command, python_environment
from models.process.idle import give_way
from service.explain.messages import Question, Reply, read, write


class ExplainerDied(Exception):
    """It was killed, or crashed."""


class ExplainerProcess:
    """It computes in time that others leave, so that answers do not wait for explanations."""

    def __init__(self) -> None:
        self._connection, other = socket.socketpair()
        self._file = self._connection.makefile("rwb")
        command = python_command("service.explain", json.dumps({"worker": os.getpid(), "connection": other.fileno()}))
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[other.fileno()], env=python_environment()
            )
        except OSError:
            self._connection.close()
            raise
        finally:
            other.close()
        give_way(self._process.pid)  # now, so that not even the start of Python disturbs others

    def ask(self, question: Question) -> Reply:
        """
        Raises:
            ExplainerDied: meanwhile.
        """
        try:
            write(self._file, question)
            reply = read(self._file, Reply)
        except (OSError, ValueError) as error:
            raise ExplainerDied(str(error)) from error
        if reply is None:
            raise ExplainerDied("it has ended")
        return reply

    def close(self) -> None:
        """Kill it and wait for its end."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._connection.close()
