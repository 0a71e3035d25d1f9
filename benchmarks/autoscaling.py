"""A simulated day of the chart's autoscaling: `python -m benchmarks.autoscaling --pod-images-per-s 60`.

Images come by chance (Poisson), at a rate that follows the hours of a day, with a few sudden crowds. Each pod computes
so many images a second, one after the other, and the Service gives each image to a pod by chance. Every 15 seconds the
HorizontalPodAutoscaler looks at the waiting images, at the share of the time that engines compute, or at both, of which
the one that asks for more pods counts, by the algorithm in Kubernetes' documentation
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details) with the chart's
`behavior`. A new pod answers after START_S. Nothing here is measured but the pod's speed, which is given.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import click
import numpy as np

STEP_S = 0.1
DAY_S = 86_400
RATE_WINDOW_S = 60.0  # rate(...[1m])
SYNC_S = 15.0  # between two looks of the autoscaler, and between two scrapes
TOLERANCE = 0.1  # of the ratio of metric and target, within which nothing changes
START_S = 40.0  # until a new pod answers: scheduled, image pulled before, model fetched and loaded
DOWN_WINDOW_S, DOWN_PERIOD_S = 300.0, 60.0  # as in the chart: one pod a minute, and only what five minutes agree on
CROWDS = ((9.5, 0.2, 2.0), (13.0, 0.1, 2.5), (20.0, 0.5, 1.8))  # hour, hours, factor


@dataclass
class Day:
    """What came of it."""

    in_time: float  # share of images that were answered within the objective
    pod_hours: float
    most_pods: int


def rate_at(second: float, peak: float) -> float:
    """Images a second: least at four in the morning, most at four in the afternoon, and crowds on top."""
    hour = second / 3600
    daily = 0.15 + 0.85 * (0.5 - 0.5 * math.cos((hour - 4) / 24 * 2 * math.pi))
    crowd = max((factor for begin, length, factor in CROWDS if begin <= hour < begin + length), default=1.0)
    return peak / max(factor for _, _, factor in CROWDS) * daily * crowd


class Autoscaler:
    """
    Args:
        desired: of the average waiting images of a pod, and the average share of the time that it computes: how many
            times as many pods there should be.
    """

    def __init__(self, least: int, most: int, desired: Callable[[float, float], float]) -> None:
        self._least, self._most, self._desired = least, most, desired
        self._recommended: deque[tuple[float, int]] = deque()
        self._last_down = -math.inf

    def decide(self, now: float, pods: int, waiting: float, busy: float) -> int:
        ratio = self._desired(waiting, busy)
        wanted = pods if abs(ratio - 1) <= TOLERANCE else math.ceil(pods * ratio)
        wanted = min(max(wanted, self._least), self._most)
        self._recommended.append((now, wanted))
        while self._recommended[0][0] < now - DOWN_WINDOW_S:
            self._recommended.popleft()
        if wanted > pods:
            return min(wanted, 2 * pods)  # 100 % every 15 seconds
        highest = max(count for _, count in self._recommended)
        if highest < pods and now - self._last_down >= DOWN_PERIOD_S:
            self._last_down = now
            return pods - 1
        return pods


def simulate(
    scaler: Autoscaler | None, *, pods: int, peak: float, pod_rate: float, objective_s: float, seed: int = 0
) -> Day:
    """
    Args:
        scaler: None: the number of pods stays.
    """
    chance = np.random.default_rng(seed)
    queues, ready_at = np.zeros(pods), np.zeros(pods)
    answered = in_time = most = 0
    hours, scraped, next_sync = 0.0, (0.0, 0.0), 0.0
    busy = deque([0.0], maxlen=int(RATE_WINDOW_S / STEP_S))  # of each step, of a pod on average
    for step in range(int(DAY_S / STEP_S)):
        now = step * STEP_S
        up = np.flatnonzero(ready_at <= now)
        arrived = chance.multinomial(chance.poisson(rate_at(now, peak) * STEP_S), np.full(len(up), 1 / len(up)))
        before = queues[up]
        # an image that finds q others waits for them, and is computed itself; those of one step come evenly in it
        for queue, count in zip(before, arrived, strict=True):
            waits = (queue + np.arange(1, count + 1)) / pod_rate
            in_time += int((waits <= objective_s).sum())
        answered += int(arrived.sum())
        busy.append(float(np.minimum(1.0, (before + arrived) / (pod_rate * STEP_S)).mean()))
        queues[up] = np.maximum(0.0, before + arrived - pod_rate * STEP_S)
        hours += len(queues) * STEP_S / 3600
        if scaler is not None and now >= next_sync:
            next_sync += SYNC_S
            wanted = scaler.decide(now, len(queues), *scraped)
            scraped = (
                float(queues[up].mean()),
                float(np.mean(busy)),
            )  # the decision is made on what the scrape before has seen
            if wanted > len(queues):
                new = wanted - len(queues)
                queues, ready_at = np.append(queues, np.zeros(new)), np.append(ready_at, np.full(new, now + START_S))
            elif wanted < len(queues):
                queues, ready_at = queues[:wanted], ready_at[:wanted]  # what it has it answers before it ends
        most = max(most, len(queues))
    return Day(in_time / max(1, answered), hours, most)


@click.command(context_settings={"show_default": True})
@click.option("--pod-images-per-s", "pod_rate", type=float, required=True, help="That one pod computes.")
@click.option("--objective-s", type=float, default=0.2)
@click.option("--peak-pods", type=int, default=8, help="Pods that are busy at the day's highest rate.")
@click.option("--waiting", default="4,16", help="Waiting images of a pod, on average, at which it stays as it is.")
@click.option("--busy", default="0.6,0.7,0.8", help="Share of the time that a pod computes, at which it stays.")
def main(pod_rate: float, objective_s: float, peak_pods: int, waiting: str, busy: str) -> None:
    peak = 0.9 * peak_pods * pod_rate
    print(f"{pod_rate:g} images/s a pod, at most {peak:.0f} images/s in all; objective {objective_s:g} s")
    print("| pods | answered in time | pod hours | most pods |\n|---|---|---|---|")
    rules: dict[str, Callable[[float, float], float] | None] = {f"always {peak_pods + 2}": None}
    for limit in map(float, waiting.split(",")):
        rules[f"{limit:g} waiting"] = partial(by_waiting, limit)
    for limit in map(float, busy.split(",")):
        rules[f"busy {limit:g}"] = partial(by_busy, limit)
        rules[f"busy {limit:g}, or 4 waiting"] = partial(by_both, limit, 4.0)
    for name, rule in rules.items():
        scaler = None if rule is None else Autoscaler(2, 2 * peak_pods, rule)
        pods = peak_pods + 2 if rule is None else 2
        day = simulate(scaler, pods=pods, peak=peak, pod_rate=pod_rate, objective_s=objective_s)
        print(f"| {name} | {day.in_time:.2%} | {day.pod_hours:.0f} | {day.most_pods} |", flush=True)


def by_waiting(limit: float, waiting: float, busy: float) -> float:
    return waiting / limit


def by_busy(limit: float, waiting: float, busy: float) -> float:
    return busy / limit


def by_both(busy_limit: float, waiting_limit: float, waiting: float, busy: float) -> float:
    return max(busy / busy_limit, waiting / waiting_limit)


if __name__ == "__main__":
    main()
