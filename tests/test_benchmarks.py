"""Every benchmark runs, at a size at which its figures mean nothing."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import (
    bombs,
    explaining,
    explanations,
    faults,
    fuzz,
    gate,
    imports,
    kills,
    loop,
    networks,
    overhead,
    photographs,
    precisions,
    preprocessing,
    score,
    serving,
    small_sets,
    startup,
    training,
    transfer,
)
from benchmarks.bundles import publish_in_8_bits, publish_random
from benchmarks.images import digit, photograph
from models.bundle.manifest import INT8, TESTED_ON, read_images, read_manifest, verify
from models.bundle.preprocessing import InputSpec
from tests.images import encode
from tests.needs import DEEP, LONG, NEEDS_WEIGHTS
from tests.processes import ROOT
from training.preprocessing.scalings import PIXEL_SCALINGS

MODEL, SIDE = "lenet5", 16
NEEDS_WRK = pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
ON_ONE = ["--model", MODEL, "--side", str(SIDE)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all benchmarks of this file work, so that they share a bundle."""
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(autouse=True)
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, and with little of everything."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(serving, "WARM_UP_S", 1)
    monkeypatch.setattr(serving, "RESULTS", home / "results.json")
    monkeypatch.setattr(faults, "give_way", lambda pid: None)  # other tests would starve it
    monkeypatch.setattr(loop, "PRIORITY", ())


@pytest.fixture(scope="module")
def exports(home: Path) -> Path:
    """The random bundle that benchmarks of serving make of MODEL."""
    made = home / serving.WORK / f"exports-{MODEL}-{SIDE}"
    publish_random(MODEL, InputSpec(SIDE, SIDE, 3), 1000, made, [photograph(50, 40, seed=0)])
    return made


def figures(command: click.Command, *arguments: object) -> dict[str, Any]:
    """The line of JSON with which a benchmark ends."""
    done = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said.get("machine")
    return said


def test_a_random_bundle_is_sound_and_says_that_it_was_trained_on_nothing(exports: Path) -> None:
    bundle = exports / MODEL / "1"
    assert len(verify(bundle).class_names) == 1000
    assert len(read_images(bundle)) == 0


def test_a_random_bundle_in_8_bits_lists_the_images_that_calibrated_it(exports: Path, home: Path) -> None:
    images = [photograph(40, 30, seed=seed) for seed in range(12)]
    publish_in_8_bits(exports / MODEL / "1", images, home / "int8")
    (version,) = (home / "int8" / MODEL).glob("1")
    assert (version / INT8 / "model.xml").exists()
    assert verify(version) == read_manifest(version)
    assert set(read_images(version)["side"].tolist()) == {1, 2, TESTED_ON}


def test_sound_and_damaged_requests_of_every_kind_get_an_answer_that_is_no_500(
    digits_exports: Path, home: Path
) -> None:
    little = ["--requests", 400, "--rest-s", 0]
    said = figures(fuzz.main, "--exports", digits_exports, "--model", "digits", *little, "-o", home / "fuzz")
    assert (said["requests"], said["findings"]) == (400, 0)
    assert said["held"][-1]["processes"] > 3


@NEEDS_WRK
def test_serving_measures_ourselves_the_ceiling_and_a_peer(exports: Path, home: Path) -> None:
    flags = ["--rounds", 1, "--seconds", 1, "--connections", "16", "--peers-python", sys.executable]
    said = figures(serving.main, *ON_ONE, *flags, "--only", "Flask, openvino")
    stored = json.loads((home / said["results"]).read_text())
    (found,) = stored.pop("rounds")
    assert found.keys() == {"ceiling", "Striate", "Flask, openvino"}
    assert all("error" not in row for row in found.values())
    assert found["Striate"]["16"]["images_per_s"] > 0
    assert found["Striate"]["16"]["failed"] == 0
    assert {"commit", "machine", "date"} <= stored.keys()


@pytest.mark.parametrize(
    ("flags", "fails", "written"),
    [
        ([], False, "results.json"),
        ([], True, "build/bench/serving.json"),
        (["--connections", "1"], False, "build/bench/serving.json"),
        (["--only", "Flask"], False, "build/bench/serving.json"),
        (["-o", "mine.json"], False, "mine.json"),
    ],
    ids=["everything", "a server that failed", "fewer connections", "fewer servers", "somewhere else"],
)
def test_only_a_run_of_everything_replaces_the_results(
    home: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], fails: bool, written: str
) -> None:
    row = {"images_per_s": 1.0, "p50_ms": 1.0, "p99_ms": 1.0, "both_ms": 1.0, "failed": 0, "precision": "float32"}
    found = dict.fromkeys((1, 4, 16, 64), row)
    monkeypatch.setattr(serving, "NUM_CALIBRATION", 1)
    monkeypatch.setattr(serving, "publish_random", lambda *_: None)
    monkeypatch.setattr(serving, "publish_in_8_bits", lambda *_: None)
    monkeypatch.setattr(serving, "run_ceiling", lambda *_: row)
    monkeypatch.setattr(
        serving,
        "measure",
        lambda subject, *_: {"error": "no start"} if fails and "Flask" in subject.name else {**found, "start_s": 1.0},
    )
    for path in (serving.RESULTS, home / "mine.json", home / "build/bench/serving.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    said = figures(serving.main, "--rounds", 1, "--int8", "--peers-python", sys.executable, *flags)
    assert home / said["results"] == home / written
    changed = [path for path in home.rglob("*.json") if path.name in ("results.json", "mine.json", "serving.json")]
    assert [path for path in changed if path.read_text() != "before"] == [home / written]


@pytest.mark.parametrize("name", ["serving", "loop"])
def test_stored_results_name_their_commit(name: str) -> None:
    stored = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert stored["commit"]
    assert stored["machine"]


@LONG
@NEEDS_WRK
def test_faults_are_counted(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WARM_S", "QUIET_S", "SETTLING_S", "KILL_EVERY_S", "CAPACITY_S", "PIECE_S"):
        monkeypatch.setattr(faults, name, 1)
    said = figures(faults.main, *ON_ONE, "--seconds", 1, "--reloads", 1)
    assert {"steady", "reloads", "kills", "overload"} <= said.keys()
    assert said["reloads"]["statuses"].keys() == {"200"}


@LONG
@NEEDS_WRK
def test_nobody_who_asks_beside_bombs_is_refused(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((bombs, "WARM_S"), (bombs, "ASKED_S"), (bombs, "LOOKED_AT_S"), (faults, "CAPACITY_S")):
        monkeypatch.setattr(module, name, 2)
    kinds = ("JPEG, 20,000 scans", "TIFF, 1,000,000 strips")
    said = figures(bombs.main, *ON_ONE, *(word for kind in kinds for word in ("--kind", kind)))
    assert all(said[kind]["failed"] == 0 and said[kind]["answers"] == "16x422" for kind in kinds)


@LONG
@NEEDS_WRK
def test_who_asks_beside_explanations_is_answered(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((explaining, "WARM_S"), (faults, "CAPACITY_S")):
        monkeypatch.setattr(module, name, 1)
    said = figures(explaining.main, *ON_ONE, "--seconds", 2, "--rounds", 1)[MODEL]
    assert said["failed"] == 0
    assert sum(said["explained"].values()) > 0


def test_maps_are_judged_by_what_covering_their_places_does() -> None:
    rows, random = np.array([[0.2, 0.8], [0.3, 0.9]]), np.array([[0.5, 0.5], [0.5, 0.6]])
    judged = explanations.compared(rows, random)
    assert judged["gain"] == pytest.approx(0.55)
    assert judged["error"] == pytest.approx(0.05)
    image, corner = explanations.patched(np.random.default_rng(0), "red")
    row, column = corner
    assert (image[row : row + 8, column : column + 8] == explanations.COLOURS["red"]).all()


@NEEDS_WRK
def test_overhead_is_compared_with_a_view_that_does_nothing(
    digits_exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "MODEL", "digits")
    monkeypatch.setattr(
        overhead, "publish_random", lambda *given: shutil.copytree(digits_exports, given[3], dirs_exist_ok=True)
    )
    monkeypatch.setattr(overhead, "WARM_UP_S", 1)
    monkeypatch.setattr(overhead, "CONNECTIONS", (2,))
    said = figures(overhead.main, "--rounds", 1, "--seconds", 1)
    assert said["requests_per_s"].keys() == {"Striate", "a view that does nothing"}


def test_scoring_is_compared_with_its_ceiling(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "NUM_PHOTOGRAPHS", 2)
    (found,) = figures(score.main, *ON_ONE, "--rounds", 1, "--images", 20, "--seconds", 1)["rounds"]
    assert min(found["ceiling"], found["score"]) > 0


def test_startup_is_measured(exports: Path) -> None:
    assert len(figures(startup.main, "--exports", exports, "--model", MODEL, "--runs", 1)["seconds"]) == 1


def test_the_gate_is_asked_about_equal_models() -> None:
    said = figures(gate.main, "--resamples", 3, "--images", 200)
    assert sum(said["A/A"][verdict] for verdict in ("promote", "hold", "reject")) == 3


def test_networks_are_measured_and_their_page_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "RESULTS", home / "results" / "networks.json")
    monkeypatch.setattr(networks, "PAGE", home / "networks.md")
    assert figures(networks.main, MODEL, "--seconds", 0.01)["networks"] == 1
    stored = json.loads(networks.RESULTS.read_text())[MODEL]
    assert stored["training"] > 0
    assert stored["commit"]
    assert f"| `{MODEL}` |" in networks.PAGE.read_text()


def test_training_steps_are_measured_with_and_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CASES", (("fast_cnn_relu", 32, 8),))
    monkeypatch.setattr(training, "NUM_INPUT_IMAGES", 512)
    said = figures(training.main, "--rounds", 1, "--steps", 1)
    assert said["cases"][0]["rounds"][0]["striate"] > 0
    assert training.described([{"striate": 3.0, "pytorch": 2.0}]) == "3 images/s, PyTorch 2; ratio 1.50 (1.50 to 1.50)"


def test_a_job_is_killed_and_nothing_is_half_done() -> None:
    assert sum(figures(kills.main, "--kills", 1)["killed"].values()) == 1


@LONG
def test_the_loop_turns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base and one slice of feedback, in two classes that are easily told apart."""
    monkeypatch.setattr(loop, "NUM_TESTS", 20)
    monkeypatch.setattr(loop, "PIECE_S", 2)
    monkeypatch.setattr(loop, "JOB", loop.JOB.split("[rollout]")[0])
    pictures = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        folder = home / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(130):
            (folder / f"{i}.png").write_bytes(encode(pictures.integers(low, low + 100, (32, 32, 3), np.uint8)))
    flags = ["--network", MODEL, "--epochs", 3, "--slices", 2, "--slice-size", 120, "--poisoned", 9, "--rate", 5]
    said = figures(loop.main, "--data", home / "pictures", *flags, "--work", home / "loop", "--output", home / "out")
    assert said["failed"] == 0
    assert [row["slice"] for row in said["slices"]] == [1, 2]
    assert {"loop.json", "loop.svg"} == {path.name for path in (home / "out").iterdir()}


def test_each_precision_has_its_speed(exports: Path) -> None:
    bundle = exports / MODEL / "1"
    said = figures(precisions.main, bundle, MODEL, "--seconds", 0.01)
    assert {f"{bundle}, float32", f"{MODEL}, float32", f"{MODEL}, int8"} <= set(said["subjects"])
    assert all(row["least"] > 0 for row in said["subjects"].values())


@pytest.fixture(scope="module")
def digits_in_two_classes(home: Path) -> Path:
    folder = home / "sets" / "digits"
    done = CliRunner().invoke(small_sets.main, ["digits", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0
    assert len(list(folder.glob("*/*.png"))) == 1797
    for path in folder.iterdir():
        if path.name not in ("0", "1"):
            shutil.rmtree(path)
        else:
            for image in sorted(path.iterdir())[16:]:
                image.unlink()
    return folder


@NEEDS_WEIGHTS
@pytest.mark.parametrize(
    "methods",
    [("Striate, head", "scikit"), pytest.param(("Striate, head and", "Keras", "Model", "fastai"), marks=DEEP)],
)
def test_few_images_teach_every_method(digits_in_two_classes: Path, methods: tuple[str, ...]) -> None:
    only = [flag for method in methods for flag in ("--only", method)]
    flags = ["--per-class", 8, "--asked", 6, "--seeds", 1, "--network", "efficientnet_lite0", *only]
    said = figures(transfer.main, digits_in_two_classes, *flags)
    assert said["asked"] == 6
    assert len(said["methods"]) >= len(methods)
    for name, row in said["methods"].items():
        assert name.startswith(methods)
        assert row["least"] <= row["accuracy"] <= row["most"]
        assert row["seconds"] > 0


@LONG
@NEEDS_WEIGHTS
def test_each_photograph_is_answered_by_a_model_that_has_not_seen_it(digits_in_two_classes: Path) -> None:
    flags = ["--network", "efficientnet_lite0", "--folds", 2]
    said = figures(photographs.main, digits_in_two_classes, *flags)
    assert said["images"] == 32
    assert len(said["accuracy_of_parts"]) == 2


@LONG
@NEEDS_WEIGHTS
def test_each_scaling_disguises_a_network_and_is_looked_for(digits_in_two_classes: Path) -> None:
    said = figures(
        preprocessing.main, digits_in_two_classes, "--per-class", 8, "--asked", 14, "--images", 12, "--draws", 3
    )
    assert sum(said["all"].values()) == 3 * len(PIXEL_SCALINGS)
    assert said["disguises"].keys() == PIXEL_SCALINGS.keys()
    assert said["all"]["right"] > 0


@pytest.mark.parametrize("forms", [("keras",), pytest.param(("SavedModel",), marks=LONG)])
def test_models_of_others_are_imported_and_their_answers_compared(home: Path, forms: tuple[str, ...]) -> None:
    out = home / f"{forms[0]}.json"
    models, flags = ("MobileNetV3Small", "ONNX, NCHW"), [flag for form in (*forms, "ONNX") for flag in ("--form", form)]
    only = [flag for model in models for flag in ("--only", model)]
    said = figures(imports.main, *only, *flags, "--out", out)
    assert (said["rows"], said["imported"]) == (len(forms) + 1, len(forms))
    *imported, refused = json.loads(out.read_text())["rows"]
    for row in imported:
        assert row["engines"] == ["openvino", "tensorflow"]
        for engine in row["engines"]:
            assert row[engine]["probability"] < imports.ALLOWED < 1e-2 < row["other_scaling"]
            assert row[engine]["images_per_s"] > 0
    assert "no converter" in refused["why"]
    before = out.stat().st_mtime_ns
    figures(imports.main, *only, *flags, "--out", out)
    assert out.stat().st_mtime_ns == before, "what is there is not done again"


def test_an_image_costs_what_real_ones_cost() -> None:
    assert len(photograph(500, 375, seed=0)) > 20_000
    assert len(digit()) < 1_000
