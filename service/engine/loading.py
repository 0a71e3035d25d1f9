"""Two ways to run the same SavedModel, behind one small interface; each is called from one thread."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle.manifest import MANIFEST, Manifest, read_golden, read_manifest, verify
from models.bundle.preprocessing import decode_image
from models.errors import UserError
from models.files.stamp import stamp_of
from models.insight import familiarity
from models.insight.familiarity import Familiarity
from service.engine.backend import Backend, quickest
from service.engine.batch_sizes import LONGEST_BATCH_S, BatchSizes, powers_of_two
from service.engine.openvino import OpenVINO
from service.engine.pace import AT_ONCE, Pace
from service.engine.tensorflow import TensorFlow

log = logging.getLogger(__name__)

LONGEST_WARM_UP_S = 0.03  # of one batch, if larger ones need no warm-up: a client may be waiting
COMPARED, LONGEST_COMPARED_S = 8, 0.1  # images in a batch by which precisions are compared, if it takes no longer
NEARLY = 1.05  # a precision has to be so many times as fast as a more exact one to be preferred
EXACTNESS = ("float32", "bfloat16", "float16", "int8")  # most exact first
TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.02, "int8": 0.1}  # in probability, on the golden images


class Unfaithful(UserError):
    """The model's predictions on its golden images differ from those stored in the bundle."""


BACKENDS: dict[str, Any] = {"openvino": OpenVINO, "tensorflow": TensorFlow}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the engine before has found out about a version, so that its successor is ready sooner.

    Attributes:
        engine, precision, threads: with which it computed.
        reason: why in this precision.
        stamps: of the bundle's files, as they were verified.
        seconds: that a batch took, by its size.
    """

    engine: str
    precision: str
    reason: str
    threads: int
    stamps: list[list[int]]
    seconds: dict[int, float]

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Verdict":
        return cls(**{**found, "seconds": {int(size): took for size, took in found["seconds"].items()}})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready for its first request."""

    engine: str  # the name of the backend in BACKENDS
    backend: Backend
    manifest: Manifest
    # that a batch took, by its size, as far as that was measured; the machine may have been busy
    seconds: dict[int, float]
    max_batch_size: int
    reason: str  # why in this precision
    familiarity: Familiarity | None = None  # by which unusual images are known; None where the bundle has none

    def verdict(self, bundle: Path, cores: int) -> Verdict:
        """For the next engine of this version, which has so many cores.

        This one may have had fewer of them. Then it is supposed that all cores together are quicker in proportion; the
        next engine notes how long its batches really take.
        """
        backend = self.backend
        threads = backend.threads_on(cores)
        share = backend.threads / threads if threads else 1.0
        seconds = {size: took * share for size, took in self.seconds.items()}
        stamps = stamps_of(bundle, self.manifest)
        return Verdict(self.engine, backend.precision, self.reason, threads, stamps, seconds)

    def sizes(self) -> BatchSizes:
        """To be taught by every batch that is computed."""
        return BatchSizes(self.seconds, self.max_batch_size, takes_any_size=self.backend.takes_any_size)


def load_again(bundle: Path, verdict: Verdict, max_batch_size: int, pace: Pace = AT_ONCE) -> Loaded | None:
    """Load a bundle as the engine before had it; None where its files are not the same any more.

    The files are not read again to compare their checksums, and the golden images are not computed: another process has
    done both, with these files, on this machine.
    """
    manifest = read_manifest(bundle)
    if stamps_of(bundle, manifest) != verdict.stamps:
        return None
    kind = BACKENDS[verdict.engine]
    with without_threads(kind, pace):
        backend = kind(bundle, verdict.precision, pace, verdict.threads)
        for size in sorted(verdict.seconds) if pace.considerate else (1,):  # else somebody waits for the first answer
            images = np.zeros((size, *manifest.input_spec.shape), np.uint8)
            pace.at_low_priority(partial(backend.infer, images))
    known = pace.at_low_priority(partial(familiarity.read, bundle))
    return Loaded(verdict.engine, backend, manifest, verdict.seconds, max_batch_size, verdict.reason, known)


@contextmanager
def without_threads(kind: Any, pace: Pace) -> Iterator[None]:
    """What is done at low priority in this block leaves no threads behind that would have that priority for good."""
    if pace.considerate:
        kind.hold_threads()
    try:
        yield
    finally:
        kind.release_threads()


def stamps_of(bundle: Path, manifest: Manifest) -> list[list[int]]:
    return [list(stamp_of(bundle / name)) for name in [str(MANIFEST), *sorted(manifest.files)]]


def load(
    bundle: Path, engine: str, precision: str, max_batch_size: int, pace: Pace = AT_ONCE, *, measured: bool = True
) -> Loaded:
    """Verify a bundle, load it in the fastest precision that is faithful, and warm it up.

    Args:
        precision: or `auto`.
        measured: `auto` is the fastest here; otherwise the one that is the fastest on most machines, whatever else this
            one is doing, so that the same command gives the same answers.

    Raises:
        BrokenBundle: the files are not what was exported.
        Unfaithful: no precision gives the golden images their answers.
        UserError: the precision asked for is not to be had, or no engine that is here computes this model.
    """
    manifest = pace.at_low_priority(lambda: verify(bundle))
    engine = engine_for(manifest, engine)
    offered = pace.at_low_priority(lambda: BACKENDS[engine].precisions(bundle))
    candidates = offered if precision == "auto" else (precision,)
    if not set(candidates) <= set(offered):
        raise UserError(f"The {engine} engine computes in {' or '.join(offered)} here, not in {precision}.")
    choose = fastest_faithful if measured else first_faithful
    backend, reason = choose(BACKENDS[engine], bundle, candidates, manifest, max_batch_size, pace)
    if precision != "auto":
        reason = "as SERVICE_PRECISION asks"
    seconds = warm_up(backend, manifest.input_spec.shape, max_batch_size, pace)
    known = pace.at_low_priority(partial(familiarity.read, bundle))
    return Loaded(engine, backend, manifest, seconds, max_batch_size, reason, known)


def fastest_faithful(
    kind: Any, bundle: Path, candidates: tuple[str, ...], manifest: Manifest, max_batch_size: int, pace: Pace
) -> tuple[Backend, str]:
    """The model in the precision in which it is fastest here, of those that are faithful; and why that one.

    Of precisions that are nearly as fast as each other it is the most exact one.

    Raises:
        Unfaithful: no precision gives the golden images their answers; those of int8 do not count alone.
    """
    seconds: dict[str, float] = {}
    best: Backend | None = None
    refused: list[Unfaithful] = []
    for candidate in sorted(candidates, key=EXACTNESS.index):
        if candidate == "int8" and refused and best is None:
            break  # that form has answers of its own, and the bundle's are wrong
        with without_threads(kind, pace):
            backend = kind(bundle, candidate, pace)
        try:
            check_golden(backend, bundle, manifest, pace)
        except Unfaithful as error:
            log.warning("%s", error)
            refused.append(error)
            continue
        if len(candidates) > 1:
            seconds[candidate] = seconds_an_image(backend, manifest.input_spec.shape, max_batch_size, pace)
        if best is None or seconds[candidate] * NEARLY < seconds[best.precision]:
            best = backend
    if best is None:
        raise refused[0]
    if kind.has_one_setting and best.precision != backend.precision:
        with without_threads(kind, pace):
            best = kind(bundle, best.precision, pace)
    return best, why(seconds, len(refused))


def first_faithful(
    kind: Any, bundle: Path, candidates: tuple[str, ...], manifest: Manifest, max_batch_size: int, pace: Pace
) -> tuple[Backend, str]:
    """The model in the first of the precisions in which it is faithful, and why that one.

    Raises:
        Unfaithful: no precision gives the golden images their answers.
    """
    if candidates[0] == "int8":  # which has answers of its own
        check_golden(kind(bundle, "float32", pace), bundle, manifest, pace)
    for candidate in candidates:
        try:
            found = fastest_faithful(kind, bundle, (candidate,), manifest, max_batch_size, pace)
        except Unfaithful:
            if candidate == candidates[-1]:
                raise
            continue
        return found[0], "the fastest on most machines"
    raise AssertionError("a precision is always offered")


def seconds_an_image(backend: Backend, shape: tuple[int, int, int], max_batch_size: int, pace: Pace) -> float:
    """In a batch of COMPARED images, or of as many as take no longer than LONGEST_COMPARED_S."""
    one = quickest(backend, np.zeros((1, *shape), np.uint8), pace)
    size = min(COMPARED, max_batch_size, int(LONGEST_COMPARED_S / one))
    return quickest(backend, np.zeros((size, *shape), np.uint8), pace) / size if size > 1 else one


def why(seconds: dict[str, float], num_refused: int) -> str:
    """A sentence without its full stop, for the log and for `/models/<name>`."""
    if len(seconds) < 2:
        return "the only one that gives the golden images their answers" if num_refused else "the only one here"
    times = ", ".join(f"{name} {1000 * took:.3g}" for name, took in sorted(seconds.items(), key=lambda pair: pair[1]))
    return f"fastest here, or as fast and more exact; ms an image: {times}"


def engine_for(manifest: Manifest, engine: str) -> str:
    """The engine that was asked for, or another one where that does not compute this model.

    Raises:
        UserError: TensorFlow is to compute it, and is not installed.
    """
    if engine not in manifest.engines:
        instead = manifest.engines[0]
        log.info("%s is computed by %s: %s did not pass the tests of its import", manifest.model, instead, engine)
        engine = instead
    if engine == "tensorflow" and importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{manifest.model} is to be computed by TensorFlow, which is not installed here; pip install "
            "tensorflow, or take the image service instead of service-cpu."
        )
    return engine


def check_golden(backend: Backend, bundle: Path, manifest: Manifest, pace: Pace = AT_ONCE) -> None:
    """The bundle's own images must get the answers that are stored beside them, up to the precision's tolerance."""
    tolerance = TOLERANCE[backend.precision]
    for i, (data, row) in enumerate(read_golden(bundle, int8=backend.precision == "int8")):
        expected = np.array(row)
        images = decode_image(data, manifest.input_spec)[None]
        _, (got,) = pace.timed(partial(backend.infer, images))
        if got.shape != expected.shape:
            raise Unfaithful(f"{bundle} gives {got.size} probabilities; it names {len(manifest.class_names)} classes.")
        difference = float(np.abs(got - expected).max())
        same_class = expected[got.argmax()] >= expected.max() - tolerance  # nearly equal classes may change places
        same_class = same_class or manifest.task == "multi_label"  # no label is compared with another
        if not (difference <= tolerance and same_class):
            raise Unfaithful(
                f"{bundle} in {backend.precision} differs by {difference:.3g} on golden image {i}; "
                f"at most {tolerance:g} is allowed."
            )


def warm_up(
    backend: Backend, shape: tuple[int, int, int], max_batch_size: int, pace: Pace = AT_ONCE
) -> dict[int, float]:
    """Compute batches of 1, 2, 4 and so on, so that no request is the first of its kind.

    Returns:
        The seconds that each takes. A size that would take too long is not computed: `service.engine.batch_sizes`
        tries it while the service answers, if smaller batches turn out to be quicker than they were here.
    """
    seconds: dict[int, float] = {}
    longest_s = LONGEST_WARM_UP_S if backend.takes_any_size else LONGEST_BATCH_S
    for size in powers_of_two(max_batch_size):
        as_halves = 2 * seconds.get(size // 2, 0.0)
        if as_halves > longest_s:
            break
        took = quickest(backend, np.zeros((size, *shape), np.uint8), pace)
        seconds[size] = min(took, as_halves) if as_halves else took  # a longer time is due to other load on the machine
    return seconds
