"""The filter of system calls, run step by step for machines that are not this one."""

import os

import pytest

from models.process.seccomp import (
    ALLOW,
    AND,
    ANY_BIT,
    ARGUMENTS_AT,
    AT_LEAST,
    DENY,
    EQUAL,
    KILL_PROCESS,
    LOAD,
    MACHINES,
    RETURN,
)
from training.confinement.seccomp import ABSENT, CLONE_THREAD, program

PID = 4711
LONGEST_PROGRAM = 4096  # steps that the kernel takes
GETPID = {"x86_64": 39, "aarch64": 172}


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter says of a call."""
    column, ours = MACHINES[machine]
    data = {0: number, 4: ours if architecture is None else architecture}
    for place in range(6):
        value = arguments[place] if place < len(arguments) else 0
        data[ARGUMENTS_AT + 8 * place], data[ARGUMENTS_AT + 8 * place + 4] = value & 0xFFFFFFFF, value >> 32
    steps = list(program(column, ours, pid=PID))
    assert len(steps) <= LONGEST_PROGRAM
    place = held = 0
    while (step := steps[place]).code != RETURN:
        if step.code == LOAD:
            held = data[step.value]
        elif step.code == AND:
            held &= step.value
        else:
            compared = {EQUAL: held == step.value, AT_LEAST: held >= step.value, ANY_BIT: bool(held & step.value)}
            place += step.if_true if compared[step.code] else step.if_false
        place += 1
    return step.value


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_calls_of_a_program_that_only_computes_are_allowed(machine: str) -> None:
    assert answer(machine, GETPID[machine]) == ALLOW


DENIED = {"execve": (59, 221), "socket": (41, 198), "ptrace": (101, 117), "memfd_create": (319, 279)}


@pytest.mark.parametrize("name", DENIED)
def test_programs_sockets_and_other_processes_are_denied(name: str) -> None:
    on_x86, on_arm = DENIED[name]
    assert answer("x86_64", on_x86) == answer("aarch64", on_arm) == DENY


@pytest.mark.parametrize(("machine", "clone"), [("x86_64", 56), ("aarch64", 220)])
def test_threads_are_allowed_and_children_are_not(machine: str, clone: int) -> None:
    assert answer(machine, clone, CLONE_THREAD | 0x3D0F00) == ALLOW
    assert answer(machine, clone, 17) == DENY
    assert answer(machine, 435) == ABSENT  # clone3, for which the C library then takes clone


@pytest.mark.parametrize(("machine", "openat"), [("x86_64", 257), ("aarch64", 56)])
def test_a_file_that_is_opened_for_reading_is_not_emptied(machine: str, openat: int) -> None:
    assert answer(machine, openat, 0, 0, os.O_RDONLY | os.O_TRUNC) == DENY
    assert answer(machine, openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    assert answer(machine, openat, 0, 0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) == ALLOW


@pytest.mark.parametrize(("machine", "kill", "tgkill"), [("x86_64", 62, 234), ("aarch64", 129, 131)])
def test_signals_go_to_the_process_itself_only(machine: str, kill: int, tgkill: int) -> None:
    assert answer(machine, kill, PID, 6) == answer(machine, tgkill, PID, PID, 6) == ALLOW
    assert answer(machine, kill, 1, 9) == answer(machine, tgkill, 1, 1, 9) == answer(machine, kill, 0, 9) == DENY


@pytest.mark.parametrize(("machine", "prlimit", "prctl"), [("x86_64", 302, 157), ("aarch64", 261, 167)])
def test_limits_can_be_read_and_not_set(machine: str, prlimit: int, prctl: int) -> None:
    assert answer(machine, prlimit, 0, 7, 0, 0x7F00_0000_1000) == ALLOW
    assert answer(machine, prlimit, 0, 7, 0x7F00_0000_1000) == answer(machine, prlimit, 0, 7, 0x7F00_0000_0000) == DENY
    assert answer(machine, prctl, 1, 0) == DENY  # PR_SET_PDEATHSIG: it dies with the process that started it
    assert answer(machine, prctl, 15) == ALLOW  # PR_SET_NAME


def test_calls_of_another_architecture_end_the_process() -> None:
    assert answer("x86_64", 39, architecture=0x40000003) == KILL_PROCESS  # of 32 bits, which have other numbers
    assert answer("x86_64", 0x40000000 | 59) == DENY
