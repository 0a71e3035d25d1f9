"""Decides which versions have engines on which devices, so that the memory suffices.

What answers comes first, and of that what was asked last; further engines of a version come last of all. An engine
stays where it is. A new one goes where most memory is free, and where that is the same for all, where the fewest
engines are; if there is no room, it takes that of the least urgent engines that are less urgent than itself.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from service.placement.devices import Device

Key = tuple[str, int]  # model, version


class Rank(IntEnum):
    """What a version is needed for, the most urgent first."""

    ANSWERS = 0  # it is live, or becomes so
    BESIDE = 1  # canary or shadow
    BEFORE = 2  # it was live before, and is kept for a rollback


@dataclass(frozen=True, slots=True)
class Demand:
    """A version that wants engines.

    Attributes:
        num_bytes: of one engine; an estimate before the first has loaded.
        replicas: engines that it wants at most; 0: one on each device.
        asked_at: when its model was asked last; in whatever unit, later is more.
        on: names of the devices that it has engines on.
        stays: its first engine gets and keeps a place, whatever is free: one version replaces another.
    """

    model: str
    version: int
    rank: Rank
    num_bytes: int
    replicas: int = 1
    asked_at: float = 0.0
    on: tuple[str, ...] = ()
    stays: bool = False

    @property
    def key(self) -> Key:
        return self.model, self.version


@dataclass(frozen=True, slots=True)
class Engine:
    """One of a version's engines; number 0 is its first."""

    demand: Demand
    number: int

    @property
    def priority(self) -> tuple[int, int, float]:
        """Smaller is more urgent."""
        return (max(Rank) + 1 if self.number else self.demand.rank), self.number, -self.demand.asked_at


class Room:
    """What is where, and what is free.

    Args:
        budget: bytes of each memory.
    """

    def __init__(self, devices: Sequence[Device], budget: float) -> None:
        self._devices = {device.name: device for device in devices}
        self._budget = budget
        self._free = {device.memory: budget for device in devices}
        self.where: dict[Engine, Device] = {}

    def put(self, engine: Engine, device: Device) -> None:
        self.where[engine] = device
        self._free[device.memory] -= engine.demand.num_bytes

    def remove(self, engine: Engine) -> None:
        self._free[self.where.pop(engine).memory] += engine.demand.num_bytes

    def put_where_it_is(self, engine: Engine) -> None:
        on = engine.demand.on
        if engine.number < len(on) and on[engine.number] in self._devices:
            self.put(engine, self._devices[on[engine.number]])

    def shrink(self) -> None:
        """Remove the least urgent engines from memories that are too full."""
        for memory in self._free:
            while self._free[memory] < 0 and len(self._there(memory)) > 1 and (there := self._removable(memory)):
                self.remove(there[0])

    def find(self, engine: Engine) -> Device | None:
        """A device with room for an engine; None where there is none."""
        counts = Counter(device.name for device in self.where.values())
        fitting = [d for d in self._allowed(engine) if self._free[d.memory] >= engine.demand.num_bytes]
        empty = [
            d for d in self._allowed(engine) if self._free[d.memory] == self._budget
        ]  # what is too large goes there
        if engine.demand.stays and not engine.number:
            fitting = fitting or self._allowed(engine)
        return min(fitting or empty, key=lambda d: (-self._free[d.memory], counts[d.name]), default=None)

    def make_room(self, engine: Engine) -> Device | None:
        """Remove less urgent engines for this one, from the memory where they are the least urgent."""
        choices = []
        for device in self._allowed(engine):
            victims: list[Engine] = []
            free = self._free[device.memory]
            for other in self._removable(device.memory):
                if free >= engine.demand.num_bytes or other.priority <= engine.priority:
                    break
                victims.append(other)
                free += other.demand.num_bytes
            if victims and (free >= engine.demand.num_bytes or free == self._budget):
                choices.append((victims, device))
        if not choices:
            return None
        victims, device = max(choices, key=lambda choice: [victim.priority for victim in choice[0]][-1])
        for victim in victims:
            self.remove(victim)
        return device

    def _there(self, memory: str) -> list[Engine]:
        """The engines in a memory, the least urgent first."""
        there = [engine for engine, device in self.where.items() if device.memory == memory]
        return sorted(there, key=lambda engine: engine.priority, reverse=True)

    def _removable(self, memory: str) -> list[Engine]:
        return [engine for engine in self._there(memory) if engine.number or not engine.demand.stays]

    def _allowed(self, engine: Engine) -> list[Device]:
        """Devices on which the version has no other engine."""
        others = {device.name for other, device in self.where.items() if other.demand.key == engine.demand.key}
        return [device for device in self._devices.values() if device.name not in others]


def place(demands: Sequence[Demand], devices: Sequence[Device], memory_bytes: int = 0) -> dict[Key, tuple[Device, ...]]:
    """The devices of each version, without those that get none.

    Args:
        memory_bytes: what engines may take of each memory: of main memory, and of each GPU's. 0: no limit.

    A version that alone is larger than a memory gets an engine all the same, where nothing else is.
    """
    room = Room(devices, float(memory_bytes) if memory_bytes else math.inf)
    engines = sorted((e for demand in demands for e in engines_of(demand, len(devices))), key=lambda e: e.priority)
    for engine in engines:
        room.put_where_it_is(engine)
    room.shrink()
    asleep = {demand.model for demand in demands if demand.rank == Rank.ANSWERS}
    for engine in engines:
        demand = engine.demand
        if demand.model in asleep and (demand.rank != Rank.ANSWERS or engine.number):
            if engine in room.where:  # nobody asks what is beside a version that does not answer
                room.remove(engine)
            continue
        if engine not in room.where:
            device = room.find(engine) or room.make_room(engine)
            if device is not None:
                room.put(engine, device)
        if engine in room.where:
            asleep.discard(demand.model)
    found: dict[Key, list[Device]] = {}
    for engine in sorted(room.where, key=lambda e: e.number):
        found.setdefault(engine.demand.key, []).append(room.where[engine])
    return {key: tuple(there) for key, there in found.items()}


def engines_of(demand: Demand, num_devices: int) -> list[Engine]:
    """Of what answers as many as are wanted, of others one."""
    most = min(demand.replicas or num_devices, num_devices) if demand.rank == Rank.ANSWERS else 1
    return [Engine(demand, number) for number in range(most)]
