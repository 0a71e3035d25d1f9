"""Devices that engines compute on, as SERVICE_DEVICES names them: groups of CPU cores, and GPUs."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.config import PREFIX, BadSetting, Config, split_list
from service.machine import choose_engine, nvidia_gpus, usable_cores

CORES = re.compile(r"cpu:(\d{1,5})(?:-(\d{1,5}))?")
GPU = re.compile(r"cuda:(\d{1,3})")
MAIN_MEMORY = "main memory"
NAMES = "cpu, cpu:0-15, numa, cuda, cuda:0"


@dataclass(frozen=True, slots=True)
class Device:
    """
    Attributes:
        cores: CPU cores that its engines compute on.
        gpu: what CUDA_VISIBLE_DEVICES calls the GPU; None: they compute on the cores.
    """

    name: str
    cores: tuple[int, ...]
    gpu: str | None = None

    @property
    def memory(self) -> str:
        """Name of the memory that its engines share with those of other devices."""
        return MAIN_MEMORY if self.gpu is None else self.name


def devices_of(config: Config) -> list[Device]:
    """
    Raises:
        BadSetting: SERVICE_DEVICES names what this machine does not have, or the engine does not compute on.
    """
    engine, _ = choose_engine(config.engine)
    return parse(config.devices, usable_cores(), numa_nodes(), visible_gpus(len(nvidia_gpus()), os.environ), engine)


def visible_gpus(number: int, environment: Mapping[str, str]) -> list[str]:
    """What CUDA calls the GPUs that it may use: by their order, whatever their device files are called."""
    said = environment.get("CUDA_VISIBLE_DEVICES")
    return [str(i) for i in range(number)] if said is None else [each for each in split_list(said) if each != "-1"]


def parse(
    text: str, cores: Collection[int], nodes: Mapping[int, Collection[int]], gpus: Sequence[str], engine: str
) -> list[Device]:
    """
    Args:
        text: SERVICE_DEVICES; empty: all GPUs where TensorFlow computes on them, else all cores together.
        cores: of this machine that may be used.
        nodes: the cores of each NUMA node.
        gpus: what CUDA calls the GPUs; cuda:0 is the first.
        engine: what computes.

    Raises:
        BadSetting: as `devices_of`.
    """
    everything = tuple(sorted(cores))
    found: list[Device] = []
    for name in split_list(text) or (["cuda"] if engine == "tensorflow" and gpus else ["cpu"]):
        if name == "cpu":
            found.append(Device("cpu", everything))
        elif name == "numa":
            groups = {node: tuple(sorted(set(some) & set(cores))) for node, some in sorted(nodes.items())}
            found += [Device(f"numa:{node}", some) for node, some in groups.items() if some]
        elif name == "cuda":
            found += [Device(f"cuda:{number}", everything, gpu) for number, gpu in enumerate(gpus)]
        elif match := GPU.fullmatch(name):
            number = int(match[1])
            found.append(Device(name, everything, gpus[number] if number < len(gpus) else ""))
        elif match := CORES.fullmatch(name):
            found.append(Device(name, tuple(range(int(match[1]), int(match[2] or match[1]) + 1))))
        else:
            raise BadSetting(f"{PREFIX}DEVICES has {name!r}; a device is one of {NAMES}.")
    check(found, text, cores, gpus, engine)
    return found


def check(devices: list[Device], text: str, cores: Collection[int], gpus: Sequence[str], engine: str) -> None:
    if not devices:
        raise BadSetting(f"{PREFIX}DEVICES is {text}, and this machine has no such device.")
    taken: set[int] = set()
    for device in devices:
        if device.gpu is not None:
            if engine != "tensorflow":
                raise BadSetting(f"{PREFIX}DEVICES has {device.name}, and the engine {engine} computes on CPUs alone.")
            if device.gpu not in gpus:
                known = ", ".join(f"cuda:{number}" for number in range(len(gpus))) or "no NVIDIA GPU"
                raise BadSetting(f"{PREFIX}DEVICES has {device.name}; this machine has {known}.")
            continue
        missing = sorted(set(device.cores) - set(cores))
        if missing or not device.cores:
            have = f"{min(cores)} to {max(cores)}"
            raise BadSetting(f"{PREFIX}DEVICES has {device.name}; the cores that may be used here are {have}.")
        if taken & set(device.cores):
            raise BadSetting(f"{PREFIX}DEVICES is {text}, which names a core twice; give each device its own.")
        taken |= set(device.cores)
    names = [device.name for device in devices]
    if len(set(names)) < len(names):
        raise BadSetting(f"{PREFIX}DEVICES is {text}, which names a device twice.")


def numa_nodes(folder: Path = Path("/sys/devices/system/node")) -> dict[int, set[int]]:
    """The cores of each NUMA node; empty where the kernel does not say."""
    found = {}
    for path in folder.glob("node[0-9]*"):
        try:
            found[int(path.name.removeprefix("node"))] = core_list((path / "cpulist").read_text())
        except (OSError, ValueError):
            continue
    return found


def core_list(text: str) -> set[int]:
    """As the kernel writes it: 0-3,8,10-11."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found |= set(range(int(first), int(last or first) + 1))
    return found
