"""What this machine gives us."""

import importlib.util
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an engine that starts beside another has no time for it
    from service.config import Config


def available_cores(*, cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its affinity, or the container's quota where that is less."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def num_workers(config: "Config") -> int:
    """HTTP processes."""
    return config.workers or available_cores()


def num_decoders(config: "Config") -> int:
    """Decoding threads in each HTTP process."""
    return config.decode_threads or available_cores()


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU and a TensorFlow to use it."""
    return Path("/dev/nvidia0").exists() and importlib.util.find_spec("tensorflow") is not None


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
