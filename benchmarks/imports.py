"""Do models of other people import, and answer as before? `python -m benchmarks.imports`

Each of MODELS is made in every form that people save it in (`benchmarks.others`), with random weights that tell
pictures apart, at 96x96 pixels: the networks' own sizes would cost five times as much, and change no operation. Then
`striate import` makes a bundle of it, and the engines of the service, in float32, answer 32 pictures that
the model itself has answered before it was saved. A file of Keras must tell its scaling itself; a SavedModel is given
40 labelled pictures.

The table has the largest difference of a probability, that of a logit as a fraction of the largest, and as a check of
the check the difference that another scaling makes: it must be far above what is allowed. Images/s are those of batches
of 8 for a second, of the TensorFlow engine and of OpenVINO where that serves the model.

Models of Keras 2 need tf_keras (benchmarks/others/requirements.txt), and are left out where it is not installed.

One model is made, imported, measured and deleted before the next. What is in the file of results already is not done
again.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.others.made import CHECKED, MADE, Form, Made
from benchmarks.processes import circumstances
from models.bundle.manifest import read_manifest
from models.files.typed import read_json

RESULTS = Path("imports.json")
KERAS, KERAS_2 = "benchmarks.others.keras_models", "benchmarks.others.keras_2_models"
IN_ALL_FORMS = (
    *("MobileNetV2", "EfficientNetB0", "DenseNet121", "MobileNet", "MobileNetV3Small", "MobileNetV3Large"),
    *("ResNet50", "ResNet50V2", "EfficientNetV2B0", "InceptionV3", "Xception", "ConvNeXtTiny", "NASNetMobile"),
    *("VGG16", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetV2B1", "EfficientNetV2B2"),
    *("EfficientNetV2S", "DenseNet169", "DenseNet201", "ResNet101", "ResNet101V2", "InceptionResNetV2"),
    *("VGG19", "ConvNeXtSmall", "ResNet152", "ResNet152V2"),
)
IN_KERAS_2 = ("MobileNetV2", "EfficientNetB0", "ResNet50", "MobileNetV3Small")
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {  # name: the module that makes it, and its forms
    **dict.fromkeys(("ViT, NCHW", "ConvNeXt, NCHW", "Converted, NCHW", "TensorFlow 1"), (KERAS, ("SavedModel",))),
    "ONNX, NCHW": (KERAS, ("ONNX",)),
    "Teachable Machine": (KERAS_2, ("zip",)),
    **dict.fromkeys((f"{name}, Keras 2" for name in IN_KERAS_2), (KERAS_2, ("keras", "h5", "SavedModel"))),
    **dict.fromkeys(IN_ALL_FORMS, (KERAS, ("keras", "h5", "SavedModel"))),
}
BATCH_SIZE, SECONDS = 8, 1.0
ALLOWED = 1e-4  # of a probability, and of a logit as a fraction of the largest
HEADER = """\
| model | form | import | scaling found | probability differs by | logits, relative | other scaling differs by \
| OpenVINO, images/s | TensorFlow, images/s | import, s |
|---|---|---|---|---|---|---|---|---|---|"""


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(MODELS)), help="Of these models. [default: all]")
@click.option("--form", multiple=True, help="Only in these forms, such as keras. [default: all]")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="File of results.")
@click.option("--measure", type=click.Path(path_type=Path), nargs=2, hidden=True)
def main(only: tuple[str, ...], form: tuple[str, ...], out: Path, measure: tuple[Path, Path] | None) -> None:
    """Import models of other people, and print what came of it as a table."""
    if measure:
        click.echo(json.dumps(measured(*measure)))
        return
    results = json.loads(out.read_text()) if out.exists() else {"rows": [], **circumstances()}
    for name in only or MODELS:
        if MODELS[name][0] == KERAS_2 and find_spec("tf_keras") is None:
            click.echo(f"{name} is left out: it needs benchmarks/others/requirements.txt.", err=True)
            continue
        done = {row["form"] for row in results["rows"] if row["model"] == name}
        forms = [each for each in MODELS[name][1] if each not in done and (not form or each in form)]
        if forms:
            for row in rows_of(name, forms):
                results["rows"].append(row)
                out.write_text(json.dumps(results, indent=1) + "\n")
                click.echo(line(row), err=True)
    click.echo("\n".join([HEADER, *map(line, results["rows"])]))
    counts = {"rows": len(results["rows"]), "imported": sum(row["imported"] for row in results["rows"])}
    click.echo(json.dumps({**counts, **{key: results[key] for key in circumstances()}}))


def rows_of(name: str, forms: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each form, as soon as it is known."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "made")
        folder.mkdir()
        run("-m", MODELS[name][0], name, str(folder))
        made = read_json(folder / MADE, Made)
        for form in forms:
            row = {"model": name, "form": form, "scaling": made.scaling, "classes": made.classes}
            if form in made.failed:
                yield {**row, "imported": False, "why": f"it cannot be saved so: {made.failed[form]}"}
            else:
                yield {**row, **imported(folder, made.forms[form], Path(work, "runs"))}


def imported(folder: Path, form: Form, runs: Path) -> dict[str, Any]:
    """What the command made of one form."""
    flags = [flag.format(folder) for flag in form.flags]
    began = time.perf_counter()
    command = ["-m", "training", "import", str(folder / form.path), "--name", "matrix", "--runs", str(runs), *flags]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    row: dict[str, Any] = {"imported": not done.returncode, "seconds": time.perf_counter() - began}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing was said"]
        why = next((each for each in said if each.startswith("Error: ")), said[-1]).removeprefix("Error: ")
        return {**row, "why": why.replace(str(folder), "").replace("/model", "model").strip()}
    (bundle,) = runs.glob("*/bundle")
    found = json.loads(run("-m", "benchmarks.imports", "--measure", str(bundle), str(folder)).splitlines()[-1])
    shutil.rmtree(runs)
    return {**row, **found}


def run(*command: str) -> str:
    """Standard output of a Python program.

    Raises:
        click.ClickException: it failed; with what it said last.
    """
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def measured(bundle: Path, folder: Path) -> dict[str, Any]:
    """How much the engines' answers differ from the model's own, and how many they give in a second."""
    from benchmarks.precisions import speed
    from service.engine.loading import BACKENDS
    from service.engine.pace import AT_ONCE
    from training.importing.parity import relative_difference

    manifest = read_manifest(bundle)
    with np.load(folder / CHECKED) as file:
        images, right, wrong = (file[key] for key in ("images", "right", "wrong"))
    found: dict[str, Any] = {
        "scaling_found": manifest.lineage["import"]["scaling"],
        "scaling_reason": manifest.lineage["import"]["scaling_chosen"],
        "engines": manifest.engines,
        "answers_range": [float(right.max(axis=1).min()), float(right.max())],
    }
    for engine in manifest.engines:
        backend = BACKENDS[engine](bundle, "float32", AT_ONCE)
        got = np.concatenate(
            [backend.infer(images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
        ).astype(np.float64)
        found[engine] = {
            "probability": float(np.abs(got - right).max()),
            "logits": relative_difference(got, right),
            "images_per_s": speed(backend.infer, images[:BATCH_SIZE], SECONDS),
        }
        found["other_scaling"] = float(np.abs(got - wrong).max())
    return found


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [row["model"], row["form"]]
    if not row["imported"]:
        return f"| {' | '.join([*cells, 'refused: ' + row['why'], *['–'] * 6, seconds(row)])} |"
    engines = [row[engine] for engine in row["engines"]]
    probability, logits = (max(engine[key] for engine in engines) for key in ("probability", "logits"))
    right = probability <= ALLOWED and logits <= ALLOWED < row["other_scaling"]
    scaling = row["scaling_found"] + ("" if row["scaling_found"] == row["scaling"] else f", not {row['scaling']}")
    cells += ["yes" if right else "yes, and answers otherwise", scaling, f"{probability:.1e}", f"{logits:.1e}"]
    cells.append(f"{row['other_scaling']:.2g}")
    cells += [f"{row[name]['images_per_s']:,.0f}" if name in row else "–" for name in ("openvino", "tensorflow")]
    return f"| {' | '.join([*cells, seconds(row)])} |"


def seconds(row: dict[str, Any]) -> str:
    return f"{row['seconds']:.0f}" if "seconds" in row else "–"


if __name__ == "__main__":
    main()
