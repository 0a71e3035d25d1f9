"""Decides which versions have engines on which devices, so that the memory suffices.

What answers comes first, and of that what was asked last. An engine stays where it is while it fits there. A new one
goes where most memory is free, and where that is the same for all, where the fewest engines are. Only when everything
has its first engine, or there is no room for it, the versions that answer get further ones.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
    """

    model: str
    version: int
    rank: Rank
    num_bytes: int
    replicas: int = 1
    asked_at: float = 0.0
    on: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.model, self.version


@dataclass(slots=True)
class Room:
    """What is free, and what has been placed."""

    free: dict[str, float]  # bytes, by the name of the memory
    placed: dict[Key, list[Device]] = field(default_factory=dict)
    engines: dict[str, int] = field(default_factory=dict)  # number of them, by device

    def put(self, demand: Demand, device: Device) -> None:
        self.free[device.memory] -= demand.num_bytes
        self.engines[device.name] = self.engines.get(device.name, 0) + 1
        self.placed.setdefault(demand.key, []).append(device)

    def best(self, demand: Demand, devices: Iterable[Device]) -> Device | None:
        """Where the next engine of a version goes; None where there is no room."""
        there = {device.name for device in self.placed.get(demand.key, ())}
        fitting = [d for d in devices if d.name not in there and self.free[d.memory] >= demand.num_bytes]
        return min(
            fitting,
            key=lambda d: (d.name not in demand.on, -self.free[d.memory], self.engines.get(d.name, 0)),
            default=None,
        )


def place(demands: Sequence[Demand], devices: Sequence[Device], memory_bytes: int = 0) -> dict[Key, tuple[Device, ...]]:
    """The devices of each version, without those that get none.

    Args:
        memory_bytes: what engines may take of each memory: of main memory, and of each GPU's. 0: no limit.

    A version that alone is larger than a memory gets an engine all the same, where nothing else is.
    """
    budget = float(memory_bytes) if memory_bytes else math.inf
    room = Room({device.memory: budget for device in devices})
    ordered = sorted(demands, key=lambda demand: (demand.rank, -demand.asked_at))
    asleep = {demand.model for demand in ordered if demand.rank == Rank.ANSWERS}
    for demand in ordered:
        if demand.rank != Rank.ANSWERS and demand.model in asleep:
            continue  # nobody asks what is beside a version that does not answer
        device = room.best(demand, devices) or next((d for d in devices if room.free[d.memory] == budget), None)
        if device is not None:
            room.put(demand, device)
            asleep.discard(demand.model)
    most = [demand.replicas or len(devices) for demand in ordered]
    for number in range(2, max(most, default=1) + 1):
        for demand, replicas in zip(ordered, most, strict=True):
            further = demand.rank == Rank.ANSWERS and number <= replicas and demand.key in room.placed
            device = room.best(demand, devices) if further else None
            if device is not None:
                room.put(demand, device)
    return {key: tuple(found) for key, found in room.placed.items()}
