"""A change that somebody waits for: it is made in time, or not at all."""


class GivenUp(RuntimeError):
    """Nobody waits for the change any more, and nothing was changed."""


class Turn:
    """One change, between who waits for it and the thread that makes it: either it begins, or it is given up.

    Which came first is decided by `list.pop`, which is atomic, so that no lock is needed.
    """

    def __init__(self) -> None:
        self._open = [True]

    def begin(self) -> None:
        """To be called once, before anything is changed.

        Raises:
            GivenUp: it was given up.
        """
        if not self._close():
            raise GivenUp

    def give_up(self) -> bool:
        """Whether it has not begun, and so never will."""
        return self._close()

    def check(self) -> None:
        """While it has not begun.

        Raises:
            GivenUp: it was given up.
        """
        if not self._open:
            raise GivenUp

    def _close(self) -> bool:
        try:
            return self._open.pop()
        except IndexError:
            return False
