"""Which models have engines now: by what they need, what is asked for, and what the memory allows."""

import time
from collections.abc import Mapping
from pathlib import Path

from service.config import Config
from service.placement.devices import Device, devices_of
from service.placement.place import Demand, place
from service.placement.usage import Usage
from service.supervisor.model import Model
from service.supervisor.version import Version

STAY_S = 5.0  # a model that has just loaded stays for so long, or two that do not fit together would never answer
MEASURE_S = 2.0  # between looks at the engines' memory
NOTABLE = 0.1  # change of an engine's memory
PAGE_BYTES = 4096


class Residence:
    """
    Args:
        runtime: the private directory of the service.

    Attributes:
        devices: on which engines may compute.

    Raises:
        BadSetting: SERVICE_DEVICES names what this machine does not have.
    """

    def __init__(self, config: Config, runtime: Path) -> None:
        self._config = config
        self.devices = devices_of(config)
        self._usage = Usage(runtime)
        self._found_at: dict[int, float] = {}  # models by their numbers; not to be asked yet is to be idle since then
        self._next_measure = 0.0

    def settle(self, models: Mapping[str, Model]) -> None:
        """Tell every model where its versions are to have engines."""
        self._measure(models)
        now = time.monotonic()
        demands = [demand for model in models.values() for demand in self._demands(model, now)]
        placed = place(demands, self.devices, self._config.memory_bytes)
        for model in models.values():
            model.settle(placed)

    def has_room(self, models: Mapping[str, Model], version: Version, device: Device) -> bool:
        """Whether an engine may start now, and need not wait for the end of others."""
        running = [
            each.estimated_bytes
            for model in models.values()
            for each in model.versions.values()
            for engine in each.engines
            if engine.device.memory == device.memory and not (engine.retired is None and self._is_replaced(model, each))
        ]
        limit = self._config.memory_bytes
        return not limit or not running or sum(running) + version.estimated_bytes <= limit

    def _is_replaced(self, model: Model, version: Version) -> bool:
        """Another version of the model is to answer instead of this one."""
        serving = model.versions.get(model.serving) if model.serving is not None else None
        return version is serving and model.pointer.live != model.serving

    def _demands(self, model: Model, now: float) -> list[Demand]:
        asked = self._usage.last(model.number)
        since = max(asked, self._found_at.setdefault(model.number, now))
        engines = [engine for version in model.versions.values() for engine in version.engines]
        if any(engine.answered_for_s() < STAY_S for engine in engines):  # it loads, or has just loaded
            asked = since = now
        if self._config.unload_idle_s and now - since > self._config.unload_idle_s:
            return []
        return model.demands(asked, self._config.replicas)

    def _measure(self, models: Mapping[str, Model]) -> None:
        now = time.monotonic()
        if now < self._next_measure:
            return
        self._next_measure = now + MEASURE_S
        for model in models.values():
            for version in model.versions.values():
                measured = [private_bytes(engine.pid) for engine in version.ready if engine.device.gpu is None]
                largest = max(measured, default=0)
                if largest and abs(largest - version.memory_bytes) > NOTABLE * version.memory_bytes:
                    version.memory_bytes = largest  # a smaller change is not worth telling every HTTP worker


def private_bytes(pid: int) -> int:
    """Main memory of a process that it shares with no file; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * PAGE_BYTES
