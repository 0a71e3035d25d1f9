"""Where engines go, on machines that nobody here has."""

import random

import pytest

from service.config import BadSetting
from service.placement.devices import Device, core_list, parse, visible_gpus
from service.placement.place import Demand, Key, Rank, place

GB = 10**9
CORES = range(64)
NODES = {0: range(32), 1: range(32, 64)}
GPUS = [Device(f"cuda:{number}", tuple(CORES), str(number)) for number in range(8)]
CPU = [Device("cpu", tuple(CORES))]


def names(placed: dict[Key, tuple[Device, ...]], key: Key) -> list[str]:
    return [device.name for device in placed.get(key, ())]


@pytest.mark.parametrize(
    ("text", "engine", "expected"),
    [
        ("", "openvino", ["cpu"]),
        ("", "tensorflow", ["cuda:0", "cuda:1"]),
        ("numa", "openvino", ["numa:0", "numa:1"]),
        ("cuda", "tensorflow", ["cuda:0", "cuda:1"]),
        ("cuda:1", "tensorflow", ["cuda:1"]),
        ("cpu:0-15,cpu:16-31,cpu:40", "openvino", ["cpu:0-15", "cpu:16-31", "cpu:40"]),
    ],
)
def test_devices_are_named_by_the_setting(text: str, engine: str, expected: list[str]) -> None:
    assert [device.name for device in parse(text, CORES, NODES, ["0", "1"], engine)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu", "has 'gpu'; a device is one of cpu, cpu:0-15, numa, cuda, cuda:0"),
        ("cpu:0-64", "the cores that may be used here are 0 to 63"),
        ("cpu:3-1", "the cores that may be used here are 0 to 63"),
        ("cpu:0-3,cpu:3-5", "names a core twice"),
        ("cuda:0", "the engine openvino computes on CPUs alone"),
    ],
)
def test_a_device_that_cannot_be_is_an_error(text: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        parse(text, CORES, NODES, ["0", "1"], "openvino")


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BadSetting, match="has cuda:2; this machine has cuda:0, cuda:1"):
        parse("cuda:2", CORES, NODES, ["0", "1"], "tensorflow")


def test_core_lists_are_read_as_the_kernel_writes_them() -> None:
    assert core_list("0-3,8,10-11\n") == {0, 1, 2, 3, 8, 10, 11}


def test_one_model_gets_an_engine_on_every_device() -> None:
    placed = place([Demand("pets", 1, Rank.ANSWERS, GB, replicas=0)], GPUS, 80 * GB)
    assert names(placed, ("pets", 1)) == [device.name for device in GPUS]


def test_so_many_engines_as_are_asked_for_are_placed() -> None:
    placed = place([Demand("pets", 1, Rank.ANSWERS, GB, replicas=3)], GPUS)
    assert len(placed["pets", 1]) == 3


def test_models_are_spread_over_gpus_by_their_memory() -> None:
    demands = [Demand(f"model{i}", 1, Rank.ANSWERS, 30 * GB) for i in range(16)]
    placed = place(demands, GPUS, 80 * GB)
    hosts = [names(placed, demand.key)[0] for demand in demands]
    assert all(hosts.count(device.name) == 2 for device in GPUS)


def test_every_model_has_its_first_engine_before_any_has_its_second() -> None:
    demands = [Demand(f"model{i}", 1, Rank.ANSWERS, 40 * GB, replicas=0) for i in range(16)]
    placed = place(demands, GPUS, 80 * GB)
    assert all(len(placed[demand.key]) == 1 for demand in demands)


def test_what_was_asked_least_recently_is_left_out() -> None:
    demands = [Demand(f"model{i}", 1, Rank.ANSWERS, 30, asked_at=float(i)) for i in range(5)]
    assert sorted(place(demands, CPU, 100)) == [("model2", 1), ("model3", 1), ("model4", 1)]


def test_a_version_kept_for_a_rollback_makes_room_for_a_model_that_is_asked() -> None:
    demands = [
        Demand("busy", 2, Rank.ANSWERS, 40, asked_at=9.0),
        Demand("busy", 1, Rank.BEFORE, 40, asked_at=9.0),
        Demand("rare", 1, Rank.ANSWERS, 40, asked_at=1.0),
    ]
    assert sorted(place(demands, CPU, 100)) == [("busy", 2), ("rare", 1)]


def test_nothing_is_beside_a_model_that_does_not_answer() -> None:
    demands = [
        Demand("large", 1, Rank.ANSWERS, 90, asked_at=2.0),
        Demand("small", 1, Rank.ANSWERS, 20, asked_at=1.0),
        Demand("small", 2, Rank.BESIDE, 5, asked_at=1.0),
    ]
    assert list(place(demands, CPU, 100)) == [("large", 1)]


def test_a_model_that_is_larger_than_the_memory_is_alone_there() -> None:
    demands = [
        Demand("huge", 1, Rank.ANSWERS, 200, asked_at=2.0),
        Demand("small", 1, Rank.ANSWERS, 20, asked_at=1.0),
    ]
    assert list(place(demands, CPU, 100)) == [("huge", 1)]


def test_a_model_that_is_larger_than_the_memory_can_be_replaced() -> None:
    demands = [
        Demand("huge", 2, Rank.ANSWERS, 0, asked_at=2.0, stays=True),
        Demand("huge", 1, Rank.ANSWERS, 200, asked_at=2.0, on=("cpu",), stays=True),
        Demand("small", 1, Rank.ANSWERS, 20, asked_at=1.0),
    ]
    placed = place(demands, CPU, 100)
    assert sorted(placed) == [("huge", 1), ("huge", 2)]
    again = [Demand("huge", 2, Rank.ANSWERS, 60, asked_at=2.0, on=("cpu",), stays=True), *demands[1:]]
    assert sorted(place(again, CPU, 100)) == [("huge", 1), ("huge", 2)]


def test_gpus_are_counted_as_cuda_counts_them() -> None:
    assert visible_gpus(2, {}) == ["0", "1"]
    assert visible_gpus(8, {"CUDA_VISIBLE_DEVICES": "5,3"}) == ["5", "3"]
    assert visible_gpus(8, {"CUDA_VISIBLE_DEVICES": ""}) == []
    devices = parse("cuda:1", CORES, NODES, ["5", "3"], "tensorflow")
    assert [(device.name, device.gpu) for device in devices] == [("cuda:1", "3")]


def test_an_engine_stays_where_it_is() -> None:
    demands = [
        Demand("a", 1, Rank.ANSWERS, 10, asked_at=1.0, on=("cuda:5",)),
        Demand("b", 1, Rank.ANSWERS, 10, asked_at=2.0),
    ]
    placed = place(demands, GPUS, 80)
    assert names(placed, ("a", 1)) == ["cuda:5"]


def test_a_simulated_day_keeps_the_memory_and_moves_no_engine() -> None:
    """64 models of many sizes on 8 GPUs, of which a few are asked often."""
    chance = random.Random(0)
    sizes = {f"model{i}": chance.randint(1, 30) * GB for i in range(64)}
    asked = dict.fromkeys(sizes, 0.0)
    on: dict[str, tuple[str, ...]] = {}
    loads = moves = 0
    for minute in range(1, 24 * 60):
        for _ in range(20):  # a few models have most of the requests
            asked[f"model{min(63, int(chance.expovariate(0.12)))}"] = float(minute)
        demands = [
            Demand(name, 1, Rank.ANSWERS, size, asked_at=asked[name], on=on.get(name, ()))
            for name, size in sizes.items()
        ]
        placed = {key[0]: devices for key, devices in place(demands, GPUS, 80 * GB).items()}
        for device in GPUS:
            assert sum(sizes[name] for name, there in placed.items() if device in there) <= 80 * GB
        newest = max(asked.values())
        assert all(name in placed for name, at in asked.items() if at == newest)  # whoever is asked now is loaded
        now = {name: tuple(device.name for device in there) for name, there in placed.items()}
        moves += sum(name in on and on[name] != there for name, there in now.items())
        loads += len(now.keys() - on.keys())
        on = now
    assert moves < loads  # an engine is moved only where something more urgent needs its place
    assert loads < 24 * 60 * 2
