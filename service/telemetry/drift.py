"""Drift of the incoming images from the held-out images: a score for each image, and indices over the latest.

Each HTTP worker counts by the bins of the reference (`models.bundle.reference`), an image half as much after HALF_LIFE
others, and writes its counts into the service's private directory every second; whoever is asked adds them up.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.reference import STATISTICS, Reference, bins_of, describe, features, mahalanobis, psi
from models.files.durable import write_durably
from models.files.typed import read_json
from service.ipc.routes import ModelVersion, Routes

HALF_LIFE = 1000  # images of one worker
FEWEST = 200  # images, by their weights, minimum for a drift index
CLASSES = "classes"
FOLDER = "drift"

Counts = list[dict[str, Any]]  # of each version: `target`, and a list of numbers by the name of each statistic


class Watched:
    """One version's reference as arrays, and the decayed counts by statistic and bin."""

    def __init__(self, reference: Reference, class_names: tuple[str, ...]) -> None:
        self.reference = reference
        places = {name: i for i, name in enumerate(reference.classes)}
        self.class_bins = np.array([places.get(name, len(places)) for name in class_names])
        self.edges = {name: np.array(reference.edges[name]) for name in STATISTICS}
        self.mean, self.precision = np.array(reference.mean), np.array(reference.precision)
        self.distances, self.ranks = np.array(reference.distances), np.linspace(0, 1, len(reference.distances))
        self.counts = {CLASSES: np.zeros(len(reference.class_shares))}
        self.counts |= {name: np.zeros(len(edges) + 1) for name, edges in self.edges.items()}


class DriftMonitor:
    """One worker's counts."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._path = folder / f"{pid}.json"
        self._watched: dict[ModelVersion, Watched] = {}
        self._changed = False

    def observe(
        self,
        target: ModelVersion,
        reference: Reference | None,
        class_names: tuple[str, ...],
        images: np.ndarray,
        probabilities: np.ndarray,
    ) -> np.ndarray | None:
        """How far each image is from the reference: the share of held-out images that are nearer, float (N,).

        Args:
            images: uint8 (N, H, W, C).
            probabilities: float32 (N, num_classes).
        """
        if reference is None:
            return None
        watched = self._watched.get(target)
        if watched is None or (watched.reference is not reference and watched.reference != reference):
            watched = self._watched[target] = Watched(reference, class_names)
        watched.reference = reference  # every reading of routes.json makes another that is equal
        described = describe(images, probabilities)
        decay = 0.5 ** (len(images) / HALF_LIFE)
        for counts in watched.counts.values():
            counts *= decay
        np.add.at(watched.counts[CLASSES], watched.class_bins[probabilities.argmax(axis=1)], 1)
        for i, name in enumerate(STATISTICS):
            np.add.at(watched.counts[name], bins_of(described[:, i], watched.edges[name]), 1)
        self._changed = True
        distances = mahalanobis(features(described), watched.mean, watched.precision)
        return np.interp(distances, watched.distances, watched.ranks)

    def changed_counts(self) -> Counts | None:
        """A copy of all counts; None where nothing has changed since the last. To be made where `observe` is called."""
        if not self._changed:
            return None
        self._changed = False
        return [
            {"target": target, **{name: counts.tolist() for name, counts in watched.counts.items()}}
            for target, watched in self._watched.items()
        ]

    def write(self, counts: Counts) -> None:
        """For whoever asks another worker; in any thread.

        Raises:
            OSError: the folder is full.
        """
        write_durably(self._path, json.dumps(counts))


def drift_of(folder: Path, routes: Routes) -> dict[ModelVersion, dict[str, Any]]:
    """{model and version: images counted, and the index of each statistic}, of those asked often enough."""
    totals: dict[ModelVersion, dict[str, np.ndarray]] = {}
    for counts in (counts for path in sorted(folder.glob("*.json")) for counts in read(path)):
        total = totals.setdefault(counts.pop("target"), {})
        for name, values in counts.items():
            total[name] = total.get(name, 0) + values
    found = {}
    for (model, version), total in totals.items():
        route = routes.models[model].versions.get(version) if model in routes.models else None
        weight = float(total[CLASSES].sum())
        if route is None or route.reference is None or weight < FEWEST:
            continue
        expected = {CLASSES: route.reference.class_shares, **route.reference.shares}
        if {name: len(shares) for name, shares in expected.items()} == {name: len(c) for name, c in total.items()}:
            known = route.reference.num_images
            index = {name: round(psi(np.array(expected[name]), counts, known), 4) for name, counts in total.items()}
            found[model, version] = {"images": round(weight), "psi": index}
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """One worker's counts, as arrays; nothing of a worker that has ended."""
    if not Path("/proc", path.stem).exists():
        return []
    try:
        rows = read_json(path, list[dict[str, list[Any]]])
    except FileNotFoundError:
        return []
    return [
        {name: tuple(value) if name == "target" else np.array(value) for name, value in row.items()} for row in rows
    ]
