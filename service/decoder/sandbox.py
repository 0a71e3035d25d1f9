"""Confines this process for good: it can compute and talk over what it has open, and nothing else.

Decoders of images are parsers in C that strangers reach. One that is taken over can open no file and no connection,
start no program, and take no more memory than it was given.

- `no_new_privs`, prctl(2): no program gives it more rights.
- seccomp(2): system calls that are not in ALLOWED fail with EPERM. On x86-64 and arm64.
- RLIMIT_DATA, setrlimit(2): bytes of memory of its own.
"""

import os
import resource
from pathlib import Path

from models.process.seccomp import (
    ALLOW,
    DENY,
    EQUAL,
    RETURN,
    Step,
    argument,
    at_call,
    forbid_new_privileges,
    install,
    machine,
    of_this_architecture,
)

TGKILL, PRLIMIT64 = (234, 131), (302, 261)
ALLOWED = {  # numbers on x86-64 and arm64
    **{
        "read": (0, 63),
        "write": (1, 64),
        "close": (3, 57),
        "fstat": (5, 80),
        "newfstatat": (262, 79),
        "lseek": (8, 62),
    },
    **{"poll": (7, None), "ppoll": (271, 73), "sendto": (44, 206), "recvfrom": (45, 207)},
    **{"sendmsg": (46, 211), "recvmsg": (47, 212)},
    **{"mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216)},
    **{"madvise": (28, 233), "membarrier": (324, 283), "futex": (202, 98), "sched_yield": (24, 124)},
    **{"rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132)},
    **{"getpid": (39, 172), "gettid": (186, 178), "exit": (60, 93), "exit_group": (231, 94)},
    **{"nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114)},
    **{"getrusage": (98, 165), "getrlimit": (97, 163), "setrlimit": (160, 164)},
    **{"getrandom": (318, 278), "set_robust_list": (273, 99), "rseq": (334, 293), "restart_syscall": (219, 128)},
}


def confine(data_bytes: int) -> tuple[bool, str, bool]:
    """Confine this process; everything that it needs has to be imported and open.

    Args:
        data_bytes: of memory, beside what it has now.

    Returns:
        Whether it can get no new privileges; "filtered" or why its system calls are not; whether memory is limited.
    """
    in_use = data_in_use()
    if in_use is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (in_use + data_bytes, in_use + data_bytes))
    try:
        forbid_new_privileges()
    except OSError as error:
        return False, f"not filtered: {error}", in_use is not None
    try:
        install(program(*machine()))
    except OSError as error:
        return True, f"not filtered: {error}", in_use is not None
    return True, "filtered", in_use is not None


def program(column: int, architecture: int) -> list[Step]:
    """The filter of a machine: what is not in ALLOWED is denied, and only this process is sent signals or limits."""
    steps = of_this_architecture(column, architecture)
    for numbers in ALLOWED.values():
        steps += at_call(numbers[column], [Step(RETURN, ALLOW)])
    for numbers, itself in ((TGKILL, os.getpid()), (PRLIMIT64, 0)):
        check = [argument(0), Step(EQUAL, itself, if_false=1), Step(RETURN, ALLOW), Step(RETURN, DENY)]
        steps += at_call(numbers[column], check)
    return [*steps, Step(RETURN, DENY)]


def data_in_use() -> int | None:
    """Bytes that RLIMIT_DATA counts; None where there is no /proc to tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
