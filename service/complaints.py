"""Logs a lasting fault once, and again only if its message changes."""

import logging


class Complaint:
    """What is wrong with one thing at present, if anything is."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: str | None = None

    def holds(self, sentence: str) -> None:
        """Say so, unless it was said last time."""
        if sentence != self._said:
            self._log.error("%s", sentence)
        self._said = sentence

    def is_over(self) -> None:
        self._said = None
