"""Whether unusual images are told from usual ones: `python -m benchmarks.unusual CIFAR10 PHOTOGRAPHS`.

Two tests, with networks that are trained as a user would:

- A network for CIFAR-10 (recipe fast-cifar) is shown digits, photographs, noise and smooth patches of colour.
- Of a folder of photographs one class after another is left out of training (with the defaults), and then shown.

What is usual is learnt from half of each network's test images; the other half are the usual images that are compared.
The figures: the area under the ROC curve (AUROC) of Striate's score, with features and without, and of two others:
1 less the highest probability (Hendrycks and Gimpel, 2017, https://arxiv.org/abs/1610.02136) and the energy of the
logits (Liu et al., 2020, https://arxiv.org/abs/2010.03759). And the shares above the threshold: of usual images, which
are false alarms, and of unusual ones.
"""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from benchmarks.processes import circumstances, machine
from models.bundle.manifest import read_manifest
from models.bundle.preprocessing import InputSpec, decode_image
from models.insight.familiarity import UNUSUAL, Familiarity, Seen, learn
from models.insight.graph import compiled, logits_of
from models.insight.network import Network
from training.runs.insight import MOST_LOOKED_AT, look

WORK = Path("build/bench/unusual")
FEW = 500  # images of each unusual kind
TRAIN_CIFAR = ("--recipe", "fast-cifar", "--split", "85/5/10")
SCORES = ("Striate", "without features", "1 - max. probability", "energy")


@click.command()
@click.argument("cifar10", type=click.Path(exists=True, path_type=Path))
@click.argument("photographs", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(cifar10: Path, photographs: Path) -> None:
    """Both are folders of folders: CIFAR10 of 32x32 images, PHOTOGRAPHS of photographs."""
    print(f"on {machine()}")
    rows = [*far(cifar10, photographs), *left_out(photographs)]
    print(f"{'unusual images':<24}{'':4}" + "".join(f"{name:>22}" for name in SCORES) + "   marked; false alarms")
    for row in rows:
        figures = "".join(f"{row['auroc'][name]:>22.3f}" for name in SCORES)
        print(f"{row['unusual']:<28}{figures}   {row['marked']:.0%}; {row['false_alarms']:.1%}")
    path = WORK / "results.json"
    path.write_text(json.dumps({**circumstances(), "rows": rows}, indent=1))


def far(cifar10: Path, photographs: Path) -> list[dict]:
    trained = Trained(run_of("cifar10", cifar10, *TRAIN_CIFAR), cifar10)
    generator, spec = np.random.default_rng(0), trained.spec
    side = (spec.height, spec.width, 3)
    digits = [enlarged(np.uint8(digit * 15.9), side) for digit in load_digits().images[:FEW]]
    files = generator.permutation(sorted(photographs.glob("*/*.jpg")))[:FEW]
    noise = generator.integers(0, 256, (FEW, *side), dtype=np.uint8)
    smooth = [enlarged(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8), side) for _ in range(FEW)]
    unusual = {
        "digits": np.stack(digits),
        "photographs": trained.decoded(files),
        "noise": noise,
        "smooth colours": np.stack(smooth),
    }
    return [trained.judge(f"CIFAR-10: {name}", images) for name, images in unusual.items()]


def left_out(photographs: Path) -> list[dict]:
    rows = []
    classes = sorted(path.name for path in photographs.iterdir() if path.is_dir())
    for name in classes:
        folder = WORK / f"without-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        for other in classes:
            link = folder / other
            if other != name and not link.exists():
                link.symlink_to((photographs / other).resolve())
        trained = Trained(run_of(f"without-{name}", folder), folder)
        rows.append(trained.judge(f"left out: {name}", trained.decoded(sorted((photographs / name).iterdir()))))
    mean = {score: float(np.mean([row["auroc"][score] for row in rows])) for score in SCORES}
    alarms = {name: float(np.mean([row[name] for row in rows])) for name in ("marked", "false_alarms")}
    return [*rows, {"unusual": "left out: mean", "auroc": mean, **alarms}]


def run_of(name: str, data: Path, *options: str) -> Path:
    """The run that trains on a folder; one of before is taken again."""
    runs = WORK.resolve() / "runs"
    done = sorted(runs.glob(f"{name}-*/bundle/assets.extra/manifest.json"))
    if not done:
        command = [sys.executable, "-m", "striate", "train", "--data", str(data.resolve()), "--name", name, *options]
        subprocess.run([*command, "--runs", str(runs)], check=True, stdout=subprocess.DEVNULL)
        done = sorted(runs.glob(f"{name}-*/bundle/assets.extra/manifest.json"))
    return done[-1].parents[2]


class Trained:
    """A trained network, what is usual for it, and test images from which that was not learnt."""

    def __init__(self, run: Path, data: Path) -> None:
        self._manifest = read_manifest(run / "bundle")
        self.spec: InputSpec = self._manifest.input_spec
        self._network = Network(run / "bundle")
        self._logits = logits_by(run / "bundle")
        with (run / "predictions.csv").open() as file:
            tested = {row["image"] for row in csv.DictReader(file)}
        files = sorted(path for path in data.glob("*/*") if path.is_file())
        generator = np.random.default_rng(0)
        held_out = generator.permutation([str(path) for path in files if f"{path.parent.name}/{path.name}" in tested])
        training = generator.permutation([str(p) for p in files if f"{p.parent.name}/{p.name}" not in tested])
        half = len(held_out) // 2
        self._usual = self.decoded(held_out[half:])
        self._familiarity: Familiarity = learn(
            self.seen(self.decoded(training[:MOST_LOOKED_AT])), self.seen(self.decoded(held_out[:half]))
        )

    def decoded(self, files: np.ndarray | list[Path]) -> np.ndarray:
        return np.stack([decode_image(Path(path).read_bytes(), self.spec) for path in files])

    def seen(self, images: np.ndarray) -> Seen:
        return look(self._network, images, np.arange(len(images)))

    def judge(self, name: str, unusual: np.ndarray) -> dict:
        usual, other = self.scores(self._usual), self.scores(unusual)
        labels = np.repeat([0, 1], [len(self._usual), len(unusual)])
        auroc = {score: float(roc_auc_score(labels, [*usual[score], *other[score]])) for score in SCORES}
        ranks = [self._familiarity.rank(self.seen(images)) for images in (self._usual, unusual)]
        alarms, marked = (float((rank > UNUSUAL).mean()) for rank in ranks)
        return {"unusual": name, "auroc": auroc, "marked": marked, "false_alarms": alarms}

    def scores(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Higher where an image is more unusual, (N,) each."""
        seen = self.seen(images)
        logits = np.concatenate([self._logits.infer([images[i : i + 32]])[0].copy() for i in range(0, len(images), 32)])
        logits = logits * self._manifest.temperature  # as trained: the graph divides by it
        highest = logits.max(axis=1)
        values = (
            self._familiarity.surprise(seen, seen.features),
            self._familiarity.surprise(replace(seen, features=None), None),
            1 - seen.probabilities.max(axis=1),
            -highest - np.log(np.exp(logits - highest[:, None]).sum(axis=1)),
        )
        return dict(zip(SCORES, values, strict=True))


def logits_by(bundle: Path):
    import openvino

    core = openvino.Core()
    model = core.read_model(bundle)
    return compiled(core, openvino.Model([logits_of(model)], model.get_parameters()))


def enlarged(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    picture = Image.fromarray(pixels).convert("RGB").resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(picture)


if __name__ == "__main__":
    main()
