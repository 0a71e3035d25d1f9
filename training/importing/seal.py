"""The bundle of an imported model: the graph from a confined process, what is known of it, the checks, and the seal."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets

from models.bundle.manifest import GOLDEN, IMAGE, IMAGES, IMPORTED, REPORT, EngineName, Manifest, write_manifest
from models.bundle.operations import check_operations
from models.bundle.preprocessing import InputSpec, decode_image
from models.bundle.reference import make_reference
from models.files.durable import sha256, write_array
from models.files.typed import read_json
from models.insight.familiarity import UNUSUAL
from models.process.children import python_command, python_environment
from training.confinement.confinement import run_confined
from training.data.split import Split
from training.evaluate.metrics import measure
from training.evaluate.predictions import Predictions
from training.export.export import ANSWERS as EXPECTED
from training.export.export import PARITY, WARMUP, in_fresh_process, write_golden
from training.importing.images import Images
from training.importing.messages import CHECKED, GRAPH, ORDER, Found, Order
from training.preprocessing.choice import Preprocessing
from training.preprocessing.outputs import probabilities_of
from training.report.page import Report
from training.runs.insight import is_enough, learn_familiarity, network_of
from training.runs.lineage import circumstances

LIMITS: Any = {"seconds": 1800.0, "memory_bytes": 16_000_000_000}  # of a process that loads somebody's model
NUM_GOLDEN, NUM_CHECKED = 10, 32
PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"  # scikit-learn's china.jpg and flower.jpg, CC BY 2.0
GRAPH_FILES = ("saved_model.pb", "fingerprint.pb", "variables", "assets", str(WARMUP))  # no others are taken over


@dataclass(frozen=True, slots=True)
class Imported:
    """All that was found out and decided about a model.

    Attributes:
        title: the name of what was given.
        source: the copy of the model.
    """

    name: str
    title: str
    source: Path
    signature: str | None
    class_names: tuple[str, ...]
    found: Found
    chosen: Preprocessing
    images: Images

    def manifest(self) -> Manifest:
        found, chosen = self.found, self.chosen
        told = {
            "source": self.title,
            "sha256": digest(self.source),
            "kind": found.kind,
            "libraries": found.libraries,
            "scaling": chosen.scaling,
            "scaling_chosen": chosen.reason,
            "output": found.output,
            "numbers": found.numbers.numbers,
        }
        return Manifest(
            model=self.name,
            architecture=IMPORTED,
            class_names=self.class_names,
            input_spec=InputSpec(*found.image_shape, chosen.resize),
            metrics={},
            task="multi_label" if found.numbers.independent else "single_label",
            lineage={"import": told, **circumstances()},
        )


def seal(
    imported: Imported,
    answers: np.ndarray | None,
    labels: np.ndarray | None,
    run: Path,
    say: Callable[[str], None],
    add_int8: Callable[[Path, Manifest], dict[str, Any]],
) -> Path:
    """Write `run/bundle`, check it, and leave nothing else in the run; returns its path.

    Args:
        answers, labels: the model's outputs (N, K) for the images, and int64 (N,); None where there are none.
        add_int8: puts the 8-bit form into the bundle, if it is to have one; returns its metrics.

    Raises:
        ExportFailed: it does not answer as the model does.
        BrokenBundle: its graph holds an operation that is refused.
    """
    bundle, manifest = run / "bundle", imported.manifest()
    golden = imported.images.one_of_each(NUM_GOLDEN) or [
        path.read_bytes() for path in sorted(PHOTOGRAPHS.glob("*.jpg"))
    ]
    write_graph(imported, manifest, golden, run)
    with np.load(run / EXPECTED) as expected:
        write_golden(bundle, lambda _: expected["probabilities"][: len(golden)], manifest, golden)
    write_array(bundle / IMAGES, np.empty(0, IMAGE))
    in_fresh_process("training.importing.parity", run)
    engines: tuple[EngineName, ...] = ("openvino", "tensorflow") if runs_on_openvino(run, say) else ("tensorflow",)
    manifest = replace(manifest, engines=engines, metrics={"parity": read_json(run / PARITY, dict[str, Any])})
    if answers is not None and labels is not None and not imported.found.numbers.independent:
        manifest = measured(manifest, imported, answers, labels, bundle)
    manifest = replace(manifest, metrics={**manifest.metrics, **add_int8(bundle, manifest)})
    (bundle / REPORT).write_text(report(manifest).html(), encoding="utf-8")
    write_manifest(bundle, manifest)
    clean(run)
    return bundle


def write_graph(imported: Imported, manifest: Manifest, golden: list[bytes], run: Path) -> None:
    """The SavedModel, in `run/bundle`, and what the model itself answers to the golden images and to more like them."""
    bundle, spec = run / "bundle", manifest.input_spec
    pixels = np.stack([decode_image(data, spec) for data in golden])
    np.save(run / CHECKED, np.concatenate([pixels, blends(pixels, NUM_CHECKED - len(pixels))]))
    model = imported.source.relative_to(run).as_posix()
    found, scaling = imported.found, imported.chosen.scaling
    order = Order(model, imported.signature, scaling, found.output, found.numbers, manifest)
    (run / ORDER).write_text(json.dumps(asdict(order), ensure_ascii=False))
    run_confined("training.importing.write", [str(run.resolve())], folder=run, task="Writing the bundle", **LIMITS)
    (bundle / GOLDEN).mkdir(parents=True)
    for name in GRAPH_FILES:
        if (run / GRAPH / name).exists():
            (run / GRAPH / name).rename(bundle / name)
    check_operations(bundle)


def blends(images: np.ndarray, count: int) -> np.ndarray:
    """uint8 (count, H, W, C): pairs of images, each moved, laid over each other.

    On white noise, which no network was trained on, some answer with logits so large that their rounding shows.
    """
    generator = np.random.default_rng(0)
    moved = [
        np.roll(images[generator.integers(len(images), size=count)], tuple(generator.integers(0, 64, 2)), axis=(1, 2))
        for _ in range(2)
    ]
    share = generator.random((count, 1, 1, 1))
    return np.rint(share * moved[0] + (1 - share) * moved[1]).astype(np.uint8)


def runs_on_openvino(run: Path, say: Callable[[str], None]) -> bool:
    """Tried in a process of its own, which may crash."""
    command = python_command("training.importing.openvino_trial", str(run))
    done = subprocess.run(command, env=python_environment(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        say(f"OpenVINO does not serve it, and TensorFlow does: {last[:200]}")
    return not done.returncode


def measured(manifest: Manifest, imported: Imported, answers: np.ndarray, labels: np.ndarray, bundle: Path) -> Manifest:
    """With the metrics on the labelled images, the statistics that tell drift, and in the bundle what is usual."""
    images, names = imported.images, imported.class_names
    probabilities = probabilities_of(answers, imported.found.numbers)
    metrics = measure(Predictions(names, images.files, labels, probabilities))
    manifest = replace(manifest, metrics={**manifest.metrics, "labelled": metrics})
    if len(labels) < 2:
        return manifest
    pixels = np.stack([decode_image(data, manifest.input_spec) for data in images.read()])
    rows = np.arange(len(pixels))
    manifest = replace(manifest, reference=make_reference(names, pixels, rows, probabilities))
    mixed = np.random.default_rng(0).permutation(rows)  # it is not known which of them the model was trained on
    split = Split(mixed[: len(mixed) // 2], rows[:0], mixed[len(mixed) // 2 :])
    network = network_of(bundle) if "openvino" in manifest.engines and is_enough(split) else None
    if network is None:
        return manifest
    learn_familiarity(network, pixels, split)[0].write(bundle)
    return replace(manifest, unusual_above=UNUSUAL)


def report(manifest: Manifest) -> Report:
    told = manifest.lineage["import"]
    facts = {name.replace("_", " "): str(value) for name, value in told.items()}
    facts |= {f"parity: {name.replace('_', ' ')}": str(value) for name, value in manifest.metrics["parity"].items()}
    return Report(
        f"{manifest.model}: {told['source']}, imported", facts, [], metrics=manifest.metrics.get("labelled", {})
    )


def digest(model: Path) -> str:
    """sha256 of a file; of a folder that of the sorted list of its files and theirs."""
    if model.is_file():
        return sha256(model)
    files = sorted(path for path in model.rglob("*") if path.is_file())
    listed = "".join(f"{sha256(path)}  {path.relative_to(model).as_posix()}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def clean(run: Path) -> None:
    """Remove all but the bundle."""
    for path in run.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name != "bundle":
            shutil.rmtree(path)
        elif path.name != "bundle":
            path.unlink()
