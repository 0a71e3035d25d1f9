"""The kernel's seccomp filter (seccomp(2)): a process gives up system calls, for itself and for good.

A filter is a program for the kernel's BPF machine, which looks at the number of each call and at arguments that are
numbers; it cannot follow pointers. A call that is denied fails with EPERM, so that libraries take it for a missing
right and go on. `training.confinement.seccomp` denies some calls, `service.decoder.sandbox` allows some.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
X32 = 0x40000000  # on x86-64, numbers from here on are the same calls by other numbers

LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06  # of the BPF machine
ALLOW, DENY, KILL_PROCESS = 0x7FFF0000, 0x50000 | errno.EPERM, 0x80000000
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16  # bytes into struct seccomp_data; an argument has 8 of them


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction; a comparison skips `if_true` or `if_false` instructions."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Instruction))]


def forbid_new_privileges() -> None:
    """Programs with setuid give this process no rights. Landlock and seccomp demand it of a process without rights.

    Raises:
        OSError: the kernel refuses.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def machine() -> tuple[int, int]:
    """The column of this machine in tables of numbers, and its architecture.

    Raises:
        OSError: it is neither x86-64 nor aarch64.
    """
    found = MACHINES.get(platform.machine().lower())
    if found is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(f"system calls of {platform.machine()} are not known here")
    return found


def install(steps: Iterable[Step]) -> None:
    """Install a filter for this process, which must have only one thread; threads it starts inherit it.

    Raises:
        OSError: the kernel refuses.
    """
    program = list(steps)
    array = (Instruction * len(program))(*[Instruction(s.code, s.if_true, s.if_false, s.value) for s in program])
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(program), array)))


def of_this_architecture(column: int, architecture: int) -> list[Step]:
    """The beginning of a filter: calls of another architecture end the process, and the number is loaded."""
    steps = [Step(LOAD, MACHINE_AT), Step(EQUAL, architecture, if_true=1), Step(RETURN, KILL_PROCESS)]
    steps.append(Step(LOAD, NUMBER_AT))
    if column == MACHINES["x86_64"][0]:
        steps += when(Step(AT_LEAST, X32), [Step(RETURN, DENY)])
    return steps


def argument(place: int, *, upper_half: bool = False) -> Step:
    return Step(LOAD, ARGUMENTS_AT + 8 * place + 4 * upper_half)


def at_call(number: int | None, steps: list[Step]) -> list[Step]:
    return [] if number is None else when(Step(EQUAL, number), steps)


def when(condition: Step, steps: list[Step]) -> list[Step]:
    """The steps are taken if the condition holds, and skipped otherwise."""
    return [Step(condition.code, condition.value, if_false=len(steps)), *steps]


def prctl(option: int, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [*arguments, 0, 0, 0, 0][:4]
    if libc.prctl(option, *(ctypes.c_ulong(value) if isinstance(value, int) else value for value in padded)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
