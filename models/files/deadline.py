"""A change that whoever has asked for it can cancel until it begins."""


class ChangeCancelled(RuntimeError):
    """The change was cancelled before it began, and nothing was changed."""


class PendingChange:
    """A change that one thread makes and another waits for: it either begins or is cancelled, never both.

    Which came first is decided by `list.pop`, which is atomic, so that no lock is needed.
    """

    def __init__(self) -> None:
        self._open = [True]

    def begin(self) -> None:
        """Call this once, before anything is changed.

        Raises:
            ChangeCancelled: it was given up.
        """
        if not self.cancel():
            raise ChangeCancelled

    def cancel(self) -> bool:
        """Cancel the change. Returns whether that succeeded, which it does only if the change has not begun."""
        try:
            return self._open.pop()
        except IndexError:
            return False

    def check(self) -> None:
        """Call this while the change waits, so that it stops waiting when it is cancelled.

        Raises:
            ChangeCancelled: it was given up.
        """
        if not self._open:
            raise ChangeCancelled
