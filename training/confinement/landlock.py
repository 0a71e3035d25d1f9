"""Landlock: a process gives up access to files, for itself and for good (https://docs.kernel.org/userspace-api/landlock.html).

What a ruleset names as handled is denied everywhere but where one of its rules allows it. Landlock knows nothing of the
mode, the owner, the times and the extended attributes of files; `training.confinement.seccomp` denies changing those.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same numbers on every machine
ASK_VERSION = 1
PATH_BENEATH = 1
OLDEST_ABI = 2  # Linux 5.19; before it no file could be renamed into another folder, as TensorFlow does when it saves

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
FIRST_RIGHTS = MAKE_SYM * 2 - 1
LATER_RIGHTS = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # by the version of the ABI that brought them
TCP, TCP_SINCE = 0b11, 4  # bind and connect
SCOPES, SCOPES_SINCE = 0b11, 6  # abstract Unix sockets, and signals, of processes that are not confined with this one

READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE  # no links and devices
OF_FILES = READ_FILE | WRITE_FILE | TRUNCATE  # the rights that a rule for a single file may name


class Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def landlock_abi() -> int:
    """The version of Landlock in this kernel; 0 where there is none."""
    return max(0, libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(ASK_VERSION)))


def restrict_files(*, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Allow this process to read below `readable`, to read, write, make and remove below `writable`, and nothing else.

    Nothing can be executed, not even there; shared libraries are read, and can be loaded. Paths that do not exist are
    passed over. The process must have only one thread, and must have set no_new_privs (`forbid_new_privileges`).

    Raises:
        OSError: the kernel refuses, or its Landlock is older than OLDEST_ABI.
    """
    abi = landlock_abi()
    if abi < OLDEST_ABI:
        raise OSError("this kernel has no Landlock of Linux 5.19 or later")
    handled = handled_rights(abi)
    ruleset = Ruleset(handled, TCP if abi >= TCP_SINCE else 0, SCOPES if abi >= SCOPES_SINCE else 0)
    size = 24 if abi >= SCOPES_SINCE else 16 if abi >= TCP_SINCE else 8
    descriptor = call(CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path in readable:
            allow(descriptor, path, READ & handled)
        for path in writable:
            allow(descriptor, path, WRITE & handled)
        call(RESTRICT_SELF, ctypes.c_int(descriptor), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def handled_rights(abi: int) -> int:
    rights = FIRST_RIGHTS
    for since, right in LATER_RIGHTS.items():
        rights |= right if abi >= since else 0
    return rights


def allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it is not there, or cannot be read anyway
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            rights &= OF_FILES
        rule = Beneath(rights, opened)
        call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(opened)


def call(number: int, *arguments: object) -> int:
    result = int(libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
