"""Drift of the incoming images from the held-out images: indices over the latest.

Each engine of a version counts by the bins of the reference (`models.bundle.reference`), an image half as much after
HALF_LIFE others, and writes its counts every second, into a folder of the service's private directory that is its
device's; whoever is asked reads and adds them up.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.reference import STATISTICS, Reference, bins_of, psi
from models.files.durable import write_durably
from models.files.typed import read_json
from service.ipc.routes import ModelVersion, Routes

HALF_LIFE = 1000  # images
FEWEST = 200  # images, by their weights, minimum for a drift index
CLASSES = "classes"
FOLDER = "drift"

Counts = dict[str, Any]  # of one version: `target`, and numbers by the name of each statistic


class Watched:
    """One version's reference as arrays, and the decayed counts by statistic and bin."""

    def __init__(self, reference: Reference, class_names: tuple[str, ...]) -> None:
        self.reference = reference
        places = {name: i for i, name in enumerate(reference.classes)}
        self.class_bins = np.array([places.get(name, len(places)) for name in class_names])
        self.edges = {name: np.array(reference.edges[name]) for name in STATISTICS}
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []  # statistics (N, 7) and classes (N,) of each batch
        self.counts = {CLASSES: np.zeros(len(reference.class_shares))}
        self.counts |= {name: np.zeros(len(edges) + 1) for name, edges in self.edges.items()}

    def observe(self, described: np.ndarray, probabilities: np.ndarray) -> None:
        """As `DriftMonitor.observe`; what is counted is kept until `count`."""
        self._seen.append((described, probabilities.argmax(axis=1)))

    def count(self) -> None:
        """Count what was seen since the last time, all of it together."""
        seen, self._seen = self._seen, []
        described = np.concatenate([rows for rows, _ in seen])
        classes = np.concatenate([some for _, some in seen])
        weights = 0.5 ** (np.arange(len(classes), 0, -1) / HALF_LIFE)
        bins = {CLASSES: self.class_bins[classes]}
        bins |= {name: bins_of(described[:, i], self.edges[name]) for i, name in enumerate(STATISTICS)}
        for name, counts in self.counts.items():
            self.counts[name] = counts * 0.5 ** (len(classes) / HALF_LIFE)
            self.counts[name] += np.bincount(bins[name], weights, len(counts))

    def resume(self, found: Counts) -> None:
        """Go on with counts that were written before, if they are of the same bins."""
        if all(name in found and len(found[name]) == len(counts) for name, counts in self.counts.items()):
            self.counts = {name: found[name] for name in self.counts}


class DriftMonitor:
    """The counts of one version, kept by its engine.

    They go on where the version's last engine has left them, whose file has the same name.
    """

    def __init__(self, folder: Path, target: ModelVersion, reference: Reference, class_names: tuple[str, ...]) -> None:
        model, version = target
        self._path = folder / f"{model}.{version}.json"
        self._target = target
        self._watched = Watched(reference, class_names)
        before = read(self._path)
        if before is not None:
            self._watched.resume(before)
        self._changed = False

    def observe(self, described: np.ndarray, probabilities: np.ndarray) -> None:
        """Count images.

        Args:
            described: of N images, as `models.bundle.reference.describe` gives it.
            probabilities: float32 (N, num_classes).
        """
        self._changed = True
        self._watched.observe(described, probabilities)

    def changed_counts(self) -> Counts | None:
        """A copy of all counts; None where nothing has changed since the last. To be made where `observe` is called."""
        if not self._changed:
            return None
        self._changed = False
        self._watched.count()
        return {"target": self._target} | {name: counts.tolist() for name, counts in self._watched.counts.items()}

    def write(self, counts: Counts) -> None:
        """For whoever asks an HTTP worker; in any thread.

        Raises:
            OSError: the folder is full.
        """
        write_durably(self._path, json.dumps(counts))


def drift_of(folder: Path, routes: Routes) -> dict[ModelVersion, dict[str, Any]]:
    """{model and version: images counted, and the index of each statistic}, of those asked often enough."""
    totals: dict[ModelVersion, Counts] = {}
    for counts in filter(None, map(read, sorted(folder.rglob("[!.]*.json")))):
        target = counts.pop("target")
        totals[target] = added(totals.get(target), counts)
    found = {}
    for (model, version), counts in totals.items():
        route = routes.models[model].versions.get(version) if model in routes.models else None
        weight = float(counts[CLASSES].sum())
        if route is None or route.reference is None or weight < FEWEST:
            continue
        expected = {CLASSES: route.reference.class_shares, **route.reference.shares}
        if {name: len(shares) for name, shares in expected.items()} == {name: len(c) for name, c in counts.items()}:
            known = route.reference.num_images
            index = {name: round(psi(np.array(expected[name]), some, known), 4) for name, some in counts.items()}
            found[model, version] = {"images": round(weight), "psi": index}
    return found


def added(one: Counts | None, other: Counts) -> Counts:
    """The counts of two engines of one version; of other bins than the first, the second's alone."""
    if one is None or {n: len(c) for n, c in one.items()} != {n: len(c) for n, c in other.items()}:
        return other
    return {name: counts + other[name] for name, counts in one.items()}


def read(path: Path) -> Counts | None:
    """What was counted last, as arrays."""
    try:
        row = read_json(path, dict[str, list[Any]])
    except FileNotFoundError:
        return None
    return {name: tuple(value) if name == "target" else np.array(value, float) for name, value in row.items()}
