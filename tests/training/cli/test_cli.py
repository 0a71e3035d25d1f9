"""The commands as a person types them: what they print, and that mistakes end in one clear sentence."""

import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from models.bundle.manifest import MANIFEST, BrokenBundle, read_manifest, verify
from models.bundle.preprocessing import InputSpec, decode_image
from models.networks.registry import architecture_of
from models.store.layout import list_versions
from models.store.live import read_live
from tests.conftest import Training
from tests.images import encode, noise, shades, write_folder
from tests.processes import python
from tests.training.predictions import read_predictions
from training.cli.app import main
from training.cli.options import say
from training.config.layers import layers_of_table
from training.config.recipes import recipe_names
from training.data.dataset import find_images
from training.evaluate.metrics import measure
from training.runs.plan import choose_input

TEXT = b"these are notes, not an image\n"


def striate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def one_sentence(result: Result) -> str:
    """The error that a command ended with: status 1, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in result.output
    return line


@dataclass(frozen=True)
class Place:
    """Where a command works."""

    home: Path

    @property
    def options(self) -> list[str]:
        """For `fit`."""
        return [f"--{name}={self.home / name}" for name in ("runs", "cache", "exports")]

    def fit(self, *arguments: object, data: object, name: str = "toy", model: str = "lenet5") -> Result:
        return striate("fit", "--data", data, "--model", model, "--name", name, *self.options, *arguments)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 grey images, and a text file that calls itself a photograph."""
    root = tmp_path_factory.mktemp("data")
    write_folder(root, {"dark": shades(30, 0, 100), "light": shades(30, 120, 255, seed=1)})
    (root / "light" / "notes.jpg").write_bytes(TEXT)
    return root


@pytest.fixture(scope="module")
def published(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Result]:
    """`fit --publish` on that folder."""
    place = Place(tmp_path_factory.mktemp("fit"))
    options = ("--epochs", 3, "--batch-size", 8, "--learning-rate", 0.02, "--publish")
    return place, place.fit(*options, data=folder)


@pytest.fixture(scope="module")
def run(published: tuple[Place, Result]) -> Path:
    (run,) = (published[0].home / "runs").glob("[!.]*")
    return run


def test_a_text_file_named_jpg_is_named_and_stops_nothing(published: tuple[Place, Result], run: Path) -> None:
    _, result = published
    assert result.exit_code == 0, result.output
    assert "60 images in 2 classes as 32x32x1" in result.output
    assert "1 file left out, unreadable\n  light/notes.jpg: Unrecognized image format (30 bytes)." in result.output
    unreadable = json.loads((run / "audit.json").read_text())["unreadable"]
    assert list(unreadable) == ["light/notes.jpg"]
    assert unreadable["light/notes.jpg"].startswith("Unrecognized image format")
    assert "light/notes.jpg" in (run / "report.html").read_text()


def test_fit_says_how_good_the_model_is_and_where_everything_lies(published: tuple[Place, Result], run: Path) -> None:
    place, result = published
    test = verify(run / "bundle").metrics["test"]
    assert f"test accuracy {test['accuracy']:.2%} on {test['num_images']} images" in result.output
    assert f"report: {run / 'report.html'}" in result.output
    assert f"published and live: {place.home / 'exports' / 'toy' / '1'}" in result.output
    assert verify(place.home / "exports" / "toy" / "1").class_names == ("dark", "light")


def test_a_run_can_be_published_live_or_not(published: tuple[Place, Result], run: Path) -> None:
    exports = published[0].home / "exports"
    assert striate("publish", run, "--exports", exports).output == f"published and live: {exports / 'toy' / '2'}\n"
    assert read_live(exports / "toy").live == 2
    bundle = run / "bundle"
    assert striate("publish", bundle, "--not-live", "--exports", exports).output == f"published: {exports / 'toy/3'}\n"
    assert read_live(exports / "toy").live == 2
    assert list_versions(exports / "toy") == [1, 2, 3]


def test_publishing_explains_what_is_wrong(tmp_path: Path) -> None:
    assert "has no manifest.json; export again or delete it" in one_sentence(striate("publish", tmp_path))


def own_accuracy(training: Training) -> float:
    """Of the digits model on all digits: our decoder, OpenVINO, and a comparison."""
    bundle = training.run / "bundle"
    paths = sorted((training.cache / "datasets" / "digits").rglob("*.png"))
    images = np.stack([decode_image(path.read_bytes(), InputSpec(32, 32, 1)) for path in paths])
    compiled = openvino.Core().compile_model(bundle, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled({"images": images})["probabilities"].argmax(axis=1)
    return float(np.mean([path.parent.name == str(answer) for path, answer in zip(paths, answers, strict=True)]))


def test_evaluate_prints_the_accuracy_that_anybody_else_computes(digits_training: Training) -> None:
    arguments = ("evaluate", digits_training.run, "--data", "digits", "--cache", digits_training.cache)
    expected = own_accuracy(digits_training)
    metrics = json.loads(striate(*arguments, "--json").stdout)
    assert metrics["num_images"] == 1797
    assert metrics["accuracy"] == pytest.approx(expected, abs=1e-9)
    assert np.array(metrics["confusion"]).trace() / 1797 == pytest.approx(expected, abs=1e-9)
    printed = striate(*arguments).stdout
    assert re.search(rf"^accuracy +{expected:.6g}$", printed, re.MULTILINE)


def test_evaluate_writes_every_answer_and_may_ask_for_the_mirror_image_too(
    digits_training: Training, tmp_path: Path
) -> None:
    arguments = ("evaluate", digits_training.run, "--data", "digits", "--cache", digits_training.cache, "--json")
    tables = {}
    for name, flags in (("plain", []), ("flipped", ["--flips"])):
        path = tmp_path / f"{name}.csv"
        metrics = json.loads(striate(*arguments, "--predictions", path, *flags).stdout)
        tables[name] = read_predictions(path)
        assert measure(tables[name])["accuracy"] == metrics["accuracy"]
    plain, flipped = tables["plain"].probabilities, tables["flipped"].probabilities
    assert plain.shape == (1797, 10)
    np.testing.assert_allclose(flipped.sum(axis=1), 1)
    assert np.abs(flipped - plain).max() > 0.1  # digits are no mirror images


def test_evaluate_finds_classes_by_name_and_not_by_position(digits_training: Training, tmp_path: Path) -> None:
    source = digits_training.cache / "datasets" / "digits"
    for name in ("3", "8"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in sorted((source / name).iterdir())[:20]:
            (tmp_path / "data" / name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data" / "8" / "notes.png").write_bytes(TEXT)
    result = striate("evaluate", digits_training.run, "--data", tmp_path / "data", "--cache", tmp_path, "--json")
    metrics = json.loads(result.stdout)
    assert metrics["accuracy"] > 0.9
    assert metrics["per_class"]["8"]["num_images"] == 20
    assert metrics["per_class"]["0"]["recall"] is None
    assert list(metrics["unreadable"]) == ["8/notes.png"]


def test_evaluate_explains_a_class_that_the_model_does_not_know(digits_training: Training, folder: Path) -> None:
    result = striate("evaluate", digits_training.run, "--data", folder, "--cache", folder.parent / "cache")
    assert "The model has no class 'dark'; it knows 0, 1, 2" in one_sentence(result)


def test_no_such_folder(place: Place) -> None:
    assert "nowhere is no folder. Give a folder" in one_sentence(place.fit(data=place.home / "nowhere"))


@pytest.mark.parametrize("setting", ["runs", "exports", "cache"])
def test_what_is_written_may_not_lie_among_the_images(place: Place, folder: Path, setting: str) -> None:
    """A second `fit` took the runs of the first for a class."""
    before = sorted(folder.rglob("*"))
    result = place.fit("--publish", f"--{setting}", folder / "striate", data=folder)
    assert f"Set --{setting} to a folder outside of {folder}" in one_sentence(result)
    assert sorted(folder.rglob("*")) == before
    assert not list(place.home.iterdir())
    assert f"Set --cache to a folder outside of {folder}" in one_sentence(
        striate("audit", folder, "--cache", folder / "cache")
    )


def test_an_empty_folder(place: Place) -> None:
    (place.home / "data").mkdir()
    assert "no folder with files in it. Give a folder" in one_sentence(place.fit(data=place.home / "data"))


def test_one_class(place: Place) -> None:
    write_folder(place.home / "data", {"cat": shades(3, 0, 9)})
    assert "one class only, 'cat'" in one_sentence(place.fit(data=place.home / "data"))


def test_too_few_images(place: Place) -> None:
    write_folder(place.home / "data", {"cat": shades(2, 0, 9), "dog": shades(2, 9, 99)})
    assert "4 images are too few" in one_sentence(place.fit(data=place.home / "data"))


def test_an_unknown_architecture_is_found_out_before_anything_is_decoded(place: Place, folder: Path) -> None:
    assert "No architecture is called 'lenet6'; choose from" in one_sentence(place.fit(data=folder, model="lenet6"))
    assert not (place.home / "cache" / "decoded").exists()
    assert not (place.home / "runs").exists()


def test_a_bad_name(place: Place, folder: Path) -> None:
    assert "No model can be called 'My Model'" in one_sentence(place.fit(data=folder, name="My Model"))
    assert not (place.home / "cache").exists()


def test_images_too_small_for_the_network(place: Place, folder: Path) -> None:
    result = place.fit("--size", 32, data=folder, model="alexnet")
    assert "alexnet needs images of at least 63x63 pixels, not 32x32." in one_sentence(result)


def test_a_disk_without_room(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.data.decoded.allocate", full)
    assert "No space left on device" in one_sentence(place.fit(data=folder))


def test_a_traceback_is_there_for_those_who_ask(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_TRACEBACK", "1")
    assert isinstance(striate("publish", place.home).exception, BrokenBundle)


def test_a_file_name_that_is_no_unicode_can_be_printed() -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    say(Console(file=screen), f"left out: {os.fsdecode(b'caf' + bytes([0xE9]))}.jpg: no image", "[bold] 3 [/bold]")
    screen.flush()
    lines = screen.buffer.getvalue().decode().splitlines()
    assert lines[0].startswith("left out: caf")
    assert lines[0].endswith(".jpg: no image")
    assert lines[1] == "[bold] 3 [/bold]"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--dropout", 1),
        ("--epochs", -1),
        ("--shift", 0.6),
        ("--momentum", 1),
        ("--learning-rate", 0),
        ("--size", 4),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(place: Place, folder: Path, option: str, value: float) -> None:
    result = place.fit(option, value, data=folder)
    assert result.exit_code == 2
    assert "is not in the range" in result.output


def test_help_is_there_for_every_command_and_waits_for_no_tensorflow() -> None:
    timings = python("-X", "importtime", "-m", "training", "--help")
    assert not re.search(r"\| +(keras|tensorflow)$", timings, re.MULTILINE)
    for command in ("fit", "recipes", "evaluate", "filters", "publish"):
        assert command in timings
        headed = "Options that most runs need:" if command == "fit" else "Options:"
        assert headed in striate(command, "--help").output


def test_the_input_is_chosen_to_suit_the_images(tmp_path: Path) -> None:
    plain, chosen = layers_of_table({}), layers_of_table({"size": 64, "channels": 1})
    resnet18, lenet5 = architecture_of("resnet18"), architecture_of("lenet5")
    for side, expected in ((48, 48), (20, 32), (300, 128)):
        root = write_folder(
            tmp_path / str(side), {"a": [encode(noise(side, side, 3))], "b": [encode(noise(side, side))]}
        )
        found = find_images(str(root), tmp_path / "cache")
        resize = "squash" if expected == 128 else "crop"  # of a photograph all is kept
        assert choose_input(found, resnet18, plain) == InputSpec(expected, expected, 3, resize)
        assert choose_input(found, lenet5, plain) == InputSpec(32, 32, 3)
        assert choose_input(found, resnet18, chosen).shape == (64, 64, 1)


@pytest.mark.parametrize(("option", "value"), [("--contrast", "nan"), ("--ema", "nan"), ("--checkpoint-every", "inf")])
def test_a_number_that_is_none_is_refused(place: Place, folder: Path, option: str, value: str) -> None:
    result = place.fit(option, value, data=folder)
    assert result.exit_code == 2
    assert f"'{option}'" in result.output


@pytest.mark.parametrize("split", ["70/15", "70/15/16", "90/0/10", "a/b/c", "70/15/15/0", "-10/60/50"])
def test_a_split_is_three_percentages_that_add_up(place: Place, folder: Path, split: str) -> None:
    result = place.fit("--split", split, data=folder)
    assert result.exit_code == 2
    assert f"'{split}' is no split; give three percentages above 0 that add up to 100" in result.output


def test_a_model_of_every_image_there_is(place: Place, folder: Path) -> None:
    result = place.fit("--epochs", 1, "--val", 0, "--publish", "--force", data=folder)
    assert result.exit_code == 0, result.output
    assert "60 to train, 0 to validate, 0 to test" in result.output
    assert "nothing was held out to test" in result.output
    manifest = verify(place.home / "exports" / "toy" / "1")
    fitted_on = {"method": "none", "num_images": 0}
    assert manifest.metrics["test"] == {"num_images": 0, "temperature": 1.0, "calibration": fitted_on}
    assert "Nothing was held out to test" in (next((place.home / "runs").glob("[!.]*")) / "report.html").read_text()


def test_val_is_the_short_way_to_say_split(place: Place, folder: Path) -> None:
    result = place.fit("--val", 10, "--split", "80/10/10", data=folder)
    assert result.exit_code == 2
    assert "--split and --val both say what is held out" in result.output


def test_a_model_is_trained_on_from_another_with_other_classes(place: Place, tmp_path: Path, folder: Path) -> None:
    assert place.fit("--epochs", 2, data=folder, name="first").exit_code == 0
    (first,) = (place.home / "runs").glob("first-*")
    three = {"black": shades(20, 0, 60), "grey": shades(20, 90, 150), "white": shades(20, 190, 255)}
    root = write_folder(tmp_path / "three", three)
    flags = ("--from", first, "--freeze-epochs", 1, "--epochs", 2)
    result = striate("fit", "--data", root, "--name", "second", *flags, *place.options)
    assert result.exit_code == 0, result.output
    assert "4 layers taken over from" in result.output
    assert "learning rate 0.005," in result.output  # a tenth of lenet5's
    manifest = read_manifest(next((place.home / "runs").glob("second-*")) / "bundle")
    assert manifest.architecture == "lenet5"
    assert manifest.class_names == ("black", "grey", "white")
    assert manifest.lineage["from"]["model"] == "first"
    assert (manifest.lineage["from"]["version"], manifest.lineage["parent_version"]) == (None, None)
    (first / "bundle" / MANIFEST).unlink()
    unfinished = striate("fit", "--data", root, "--name", "third", *flags, *place.options)
    assert "is a run that is not finished" in unfinished.output
    without = place.fit("--freeze-epochs", 1, data=root)
    assert "--freeze-epochs needs a model to start from" in without.output


def test_a_model_to_start_from_must_be_of_the_network_that_is_asked_for(place: Place, folder: Path) -> None:
    assert place.fit("--epochs", 1, data=folder).exit_code == 0
    (first,) = (place.home / "runs").glob("[!.]*")
    flags = ("--from", first)
    other = striate("fit", "--data", folder, "--name", "other", "--model", "resnet20", *flags, *place.options)
    assert "--from is a lenet5, and --model says resnet20" in other.output


def test_a_learning_rate_is_found_and_drawn(place: Place, folder: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "rates.svg"
    result = striate("lr-find", folder, "--model", "lenet5", "--num-steps", 40, "--cache", tmp_path, "-o", drawing)
    assert result.exit_code == 0, result.output
    found = re.search(r"try --learning-rate (\S+);", result.output)
    assert found
    assert 1e-4 < float(found[1]) < 1
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def test_skewed_classes_are_judged_by_their_mean_recall(place: Place, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "rare", {"common": shades(60, 0, 90), "rare": shades(9, 160, 255)})
    result = place.fit("--epochs", 1, "--class-weights", "balanced", "--label-smoothing", 0.1, data=root, name="rare")
    assert result.exit_code == 0, result.output
    assert "the largest class has 7 times as many images as the smallest: use balanced accuracy" in result.output
    assert re.search(r"test balanced accuracy [\d.]+% \(accuracy [\d.]+%; classes are skewed\) on", result.output)
    (run,) = (place.home / "runs").glob("rare-*")
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["class_weights"], settings["label_smoothing"]) == ("balanced", 0.1)


def test_a_job_reads_lines_of_json(place: Place, folder: Path) -> None:
    result = place.fit("--epochs", 2, "--progress", "json", "--publish", "--force", data=folder)
    assert result.exit_code == 0, result.output
    first, second, done = map(json.loads, result.stdout.splitlines())
    assert (first["event"], first["epoch"], first["epochs"], second["epoch"]) == ("epoch", 1, 2, 2)
    assert second["step"] == 2 * first["step"]
    assert first["left_s"] > second["left_s"] == 0
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_s"} <= first.keys()
    assert (done["event"], done["model"], done["version"]) == ("done", "toy", 1)
    assert done["test"]["accuracy"] == read_manifest(Path(done["run"]) / "bundle").metrics["test"]["accuracy"]


def test_a_quiet_job_prints_nothing(place: Place, folder: Path) -> None:
    result = place.fit("--epochs", 1, "--progress", "quiet", data=folder)
    assert (result.exit_code, result.stdout) == (0, "")


def test_recipes_are_listed_and_printed() -> None:
    listed = striate("recipes").output
    assert [line.split()[0] for line in listed.splitlines()] == recipe_names()
    assert "AlexNet as in sections 4 and 5" in listed
    assert 'schedule = "plateau"' in striate("recipes", "vgg-2014").output
    assert "No recipe is called 'alexnet'" in one_sentence(striate("recipes", "alexnet"))


def test_a_recipe_is_written_down_with_what_came_of_it(place: Place, folder: Path) -> None:
    result = place.fit("--recipe", "lecture", "--epochs", 1, "--split", "50/25/25", data=folder, name="slides")
    assert result.exit_code == 0, result.output
    assert "learning rate 0.0005, dropout 0, seed 0" in result.output
    (run,) = (place.home / "runs").glob("[!.]*")
    lineage = verify(run / "bundle").lineage
    assert lineage["settings"]["recipe"] == "lecture"
    assert lineage["settings"]["precision"] == "float32"
    assert lineage["data"]["fractions"] == {"val": 0.25, "test": 0.25}


def test_filters_are_drawn(run: Path, tmp_path: Path) -> None:
    result = striate("filters", run, "-o", tmp_path / "filters.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "filters.png") as picture:
        assert f"{picture.width}x{picture.height} pixels" in result.output
    (tmp_path / "text.jpg").write_bytes(TEXT)
    assert "Unrecognized image format" in one_sentence(striate("filters", run, "--image", tmp_path / "text.jpg"))
    assert "has no manifest.json" in one_sentence(striate("filters", tmp_path))
    nowhere = tmp_path / "nowhere" / "filters.png"
    assert "No such file or directory" in one_sentence(striate("filters", run, "-o", nowhere))


def test_wrong_labels_are_looked_for_where_that_is_asked(place: Place, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "mislabelled", {"dark": shades(40, 0, 90), "light": shades(40, 160, 255)})
    (root / "dark" / "000.png").rename(root / "light" / "wrong.png")
    result = place.fit("--epochs", 6, "--batch-size", 8, "--label-errors", 2, data=root)
    assert result.exit_code == 0, result.output
    (run,) = (place.home / "runs").glob("[!.]*")
    found = json.loads((run / "label_errors.json").read_text())
    assert (found[0]["image"], found[0]["label"], found[0]["suggested"]) == ("light/wrong.png", "light", "dark")
    assert "Likely label errors" in (run / "report.html").read_text()
    assert not (run / "folds").exists()


def test_a_model_that_has_learnt_nothing_is_not_published_and_the_command_that_does_so_is_told(
    place: Place, tmp_path: Path
) -> None:
    """Labels that nothing explains: the same noise under two names."""
    root = write_folder(tmp_path / "noise", {"one": shades(60, 0, 255), "two": shades(60, 0, 255, seed=1)})
    options = ("--epochs", 1, "--progress", "json", "--publish")
    result = place.fit(*options, data=root)
    assert result.exit_code == 3, result.output
    done = json.loads(result.stdout.splitlines()[-1])
    assert (done["event"], done["version"]) == ("done", None)
    assert done["refused"] in result.stderr
    assert "always answering" in done["refused"]
    assert not (place.home / "exports").exists()
    (run,) = (place.home / "runs").glob("[!.]*")
    command = f"striate publish {run} --force --exports {place.home / 'exports'}"
    assert f"To publish it all the same: {command}" in result.stderr
    forced = striate(*command.split()[1:])
    assert (forced.exit_code, list_versions(place.home / "exports" / "toy")) == (0, [1]), forced.output
    again = striate("publish", run, "--not-live", "--exports", place.home / "exports")
    assert again.exit_code == 0, "what answers nobody needs no check"


GIVES_WAY = """
import os
from click.testing import CliRunner
from training.cli.app import main
import training.cli.retrain

assert CliRunner().invoke(main, ["retrain", "missing.toml"]).exit_code == 2
assert os.sched_getscheduler(0) != os.SCHED_IDLE
assert CliRunner().invoke(main, ["retrain", "missing.toml", "--give-way"]).exit_code == 2
assert os.sched_getscheduler(0) == os.SCHED_IDLE
"""


def test_a_job_takes_time_that_nobody_else_wants_if_it_is_asked_to():
    python("-c", GIVES_WAY)
