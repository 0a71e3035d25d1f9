"""System calls that a process gives up before it works on what somebody else made (models.process.seccomp).

Sources of the numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of
Linux.
"""

import errno
import os
from collections.abc import Iterator

from models.process.seccomp import (
    ALLOW,
    AND,
    ANY_BIT,
    DENY,
    EQUAL,
    RETURN,
    Step,
    argument,
    at_call,
    install,
    machine,
    of_this_architecture,
)

ABSENT = 0x50000 | errno.ENOSYS
DENIED = {  # name: (number on x86-64, number on aarch64); None where a machine does not have it
    # No process beside this one: neither programs nor children.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # No network, and no socket of a service on this machine.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "accept": (43, 202),
    "accept4": (288, 242),
    "bind": (49, 200),
    "listen": (50, 201),
    # Nothing that does the work of other calls where this filter does not see it.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    # No look into other processes, and no signals to them (kill and tgkill: `checked_arguments`).
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "process_madvise": (440, 440),
    "setpriority": (141, 140),
    # No memory that the limits of this process do not count.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "setrlimit": (160, 164),
    # No change of what Landlock does not know: mode, owner, times and attributes of files.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "truncate": (76, 45),
    # No other view of the files, and no setting of the machine.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "acct": (163, 89),
    "syslog": (103, 116),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "iopl": (172, None),
    "ioperm": (173, None),
}
CLONE, CLONE3, OPENAT2, OPEN, OPENAT = (56, 220), (435, 435), (437, 437), (2, None), (257, 56)
KILL, TGKILL, PRCTL, PRLIMIT64 = (62, 129), (234, 131), (157, 167), (302, 261)
CLONE_THREAD = 0x10000
PR_SET_PDEATHSIG = 1
ACCESS_MODE_OR_TRUNCATE = os.O_ACCMODE | os.O_TRUNC


def restrict_calls() -> None:
    """Install the filter for this process, which must have only one thread; threads it starts inherit it.

    Raises:
        OSError: the kernel refuses, or the machine is neither x86-64 nor aarch64.
    """
    install(program(*machine(), pid=os.getpid()))


def program(column: int, architecture: int, *, pid: int) -> Iterator[Step]:
    """The filter of a machine, for the process `pid`."""
    yield from of_this_architecture(column, architecture)
    for numbers in DENIED.values():
        yield from at_call(numbers[column], [Step(RETURN, DENY)])
    for numbers, steps in checked_arguments(pid):
        yield from at_call(numbers[column], steps)
    yield Step(RETURN, ALLOW)


def checked_arguments(pid: int) -> Iterator[tuple[tuple[int, int] | tuple[int, None], list[Step]]]:
    """Calls of which some uses are denied; each list of steps ends with an answer."""
    allow_or_deny = [Step(RETURN, ALLOW), Step(RETURN, DENY)]
    deny_or_allow = allow_or_deny[::-1]
    yield CLONE, [argument(0), Step(ANY_BIT, CLONE_THREAD, if_false=1), *allow_or_deny]  # threads are no children
    # Its flags lie behind a pointer. The C library takes clone and openat instead.
    yield CLONE3, [Step(RETURN, ABSENT)]
    yield OPENAT2, [Step(RETURN, ABSENT)]
    # Landlock before Linux 6.2 lets a file be emptied that is opened for reading.
    for numbers, place in ((OPEN, 1), (OPENAT, 2)):
        flags = [argument(place), Step(AND, ACCESS_MODE_OR_TRUNCATE), Step(EQUAL, os.O_TRUNC, if_false=1)]
        yield numbers, [*flags, *deny_or_allow]
    for numbers in (KILL, TGKILL):  # abort() sends a signal to its own process
        yield numbers, [argument(0), Step(EQUAL, pid, if_false=1), *allow_or_deny]
    yield PRCTL, [argument(0), Step(EQUAL, PR_SET_PDEATHSIG, if_false=1), *deny_or_allow]
    new_limits = [argument(2), Step(EQUAL, 0, if_false=3), argument(2, upper_half=True), Step(EQUAL, 0, if_false=1)]
    yield PRLIMIT64, [*new_limits, *allow_or_deny]
