"""CPU cores, GPUs and CPU features of this machine."""

import importlib.util
import os
import re
import signal
from pathlib import Path


def available_cores(*, cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its affinity, or the container's quota where that is less."""
    cores = len(usable_cores())
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def usable_cores() -> set[int]:
    """Numbers of the cores that this process may run on."""
    return os.sched_getaffinity(0)


def choose_engine(asked: str) -> tuple[str, str]:
    """The engine that a setting means, and why: `auto` is tensorflow where there is a GPU and TensorFlow to use it."""
    if asked != "auto":
        return asked, "as SERVICE_ENGINE says"
    gpus = nvidia_gpus()
    if not gpus:
        return "openvino", "there is no NVIDIA GPU here"
    if importlib.util.find_spec("tensorflow") is None:
        return "openvino", f"on the CPU, since TensorFlow, which would use {', '.join(gpus)}, is not installed here"
    return "tensorflow", f"on {', '.join(gpus)}"


def nvidia_gpus(*, devices: Path = Path("/dev")) -> list[str]:
    """Their device files; a container that is given the second GPU of a machine has /dev/nvidia1 alone."""
    return sorted(str(path) for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia[0-9]+", path.name))


def has_bfloat16(*, cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies in bfloat16: AVX512-BF16 or AMX."""
    flags = set(cpu_info.read_text().split()) if cpu_info.exists() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def hold_signal_across_forks(held: signal.Signals) -> None:
    """From now on a forked child starts with this signal blocked, and unblocks it when it has its own handler.

    With the parent's handler, which the child starts with, a signal that comes early would be lost.
    """
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {held}),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {held}),
    )
