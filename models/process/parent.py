"""A process that does not outlive the one that started it, even if that is killed."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(sent: signal.Signals, parent: int) -> None:
    """Have the kernel send us this signal when the process that started us dies; end now if it is dead already.

    Args:
        parent: the pid of the process that started us, as that process has told us.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(sent))
        if os.getppid() != parent:  # it died before the kernel was asked
            sys.exit(f"Process {parent}, which started this one, is gone.")
