"""What training starts from where nobody says so, and the defaults that follow from it."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from models.bundle.manifest import read_manifest, verify
from models.networks.registry import build
from tests.images import shades, write_folder
from training.cli.app import main
from training.config.layers import BY_FLAG, layers_of
from training.data.dataset import Found, find_images
from training.runs.plan import Plan, make_plan
from training.weights import start as starts
from training.weights.bundle import make_bundle
from training.weights.pretrained import Pretrained
from training.weights.sources import MissingWeights
from training.weights.start import find_start

CACHE = Path("cache")


def photographs(folder: Path, side: int = 120, count: int = 8, mode: str = "RGB") -> Path:
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(low, low + 100, (side, side + 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the packages were installed; the bundle is named and not made."""
    monkeypatch.setattr(starts, "find_weights", lambda network: Path(network))
    monkeypatch.setattr(starts, "cached_bundle", lambda network, cache: cache / network)
    return CACHE


def started(said: str | None, folder: Path, **given: object) -> tuple[Path | None, str]:
    """The start, and what was printed."""
    printed = StringIO()
    found = find_images(str(folder), folder.parent / "cache")
    start = find_start(said, found, layers_of(given, BY_FLAG), CACHE, Console(file=printed, width=1000))
    return start, printed.getvalue()


def test_photographs_start_from_published_weights_and_a_line_says_so(published: Path, tmp_path: Path) -> None:
    start, printed = started(None, photographs(tmp_path / "data"))
    assert start == published / "efficientnet_lite2"
    assert printed.startswith("training starts from efficientnet_lite2 as published")
    assert "--from scratch" in printed


def test_a_smaller_network_with_weights_may_be_chosen(published: Path, tmp_path: Path) -> None:
    start, _ = started(None, photographs(tmp_path / "data"), architecture="efficientnet_lite0")
    assert start == published / "efficientnet_lite0"


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ("scratch", {}),
        (None, {"architecture": "resnet18"}),
        (None, {"recipe": "vgg-2014"}),
        (None, {"size": 32}),
        (None, {"channels": "1"}),
    ],
)
def test_what_somebody_says_is_not_overruled(
    published: Path, tmp_path: Path, said: str | None, given: dict[str, object]
) -> None:
    assert started(said, photographs(tmp_path / "data"), **given) == (None, "")


@pytest.mark.parametrize("kind", [{"side": 40}, {"mode": "L"}], ids=["small", "grey"])
def test_small_or_grey_images_start_from_random_weights(
    published: Path, tmp_path: Path, kind: dict[str, object]
) -> None:
    assert started(None, photographs(tmp_path / "data", **kind)) == (None, "")  # type: ignore[arg-type]


def test_without_the_package_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(network: str) -> Path:
        raise MissingWeights(f"The package of {network} is not installed.")

    monkeypatch.setattr(starts, "find_weights", missing)
    start, printed = started(None, photographs(tmp_path / "data"))
    assert start is None
    assert printed == "training starts from random weights. The package of efficientnet_lite2 is not installed.\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as `import-weights` makes it, of random weights and for small images."""
    keras.utils.set_random_seed(0)
    network = build("efficientnet_lite0", input_shape=(96, 96, 3), num_classes=3)
    found = Pretrained(network, "signed", ("one", "two", "three"), {"network": "efficientnet_lite0"})
    return make_bundle(found, "start", tmp_path_factory.mktemp("start"))


def planned(folder: Path, start: Path, **given: object) -> Plan:
    found: Found = find_images(str(folder), folder.parent / "cache")
    return make_plan(found, layers_of(given, BY_FLAG), start)


def test_photographs_are_fine_tuned_in_a_larger_input_without_cropping(weights: Path, tmp_path: Path) -> None:
    plan = planned(photographs(tmp_path / "data", side=128), weights)
    settings = plan.settings_for(1000)
    assert (settings.train, settings.multi_stage, settings.recipe) == ("tail", True, "fine-tune")
    assert (plan.spec.height, plan.spec.width, plan.spec.resize) == (128, 128, "squash")
    assert plan.sources(settings)["train"].startswith("recipe fine-tune")


def test_images_are_not_blown_up_beyond_the_input_of_the_weights(weights: Path, tmp_path: Path) -> None:
    assert planned(photographs(tmp_path / "data", side=100), weights).spec.height == 96


def test_few_images_train_the_last_layer_alone_unless_somebody_says_otherwise(weights: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "data")
    assert planned(folder, weights).settings_for(50).train == "head"
    assert planned(folder, weights, train="tail").settings_for(50).train == "tail"


def test_flags_are_above_the_recipe(weights: Path, tmp_path: Path) -> None:
    settings = planned(photographs(tmp_path / "data"), weights, epochs=2, multi_stage=False).settings_for(1000)
    assert (settings.epochs, settings.multi_stage, settings.train) == (2, False, "tail")


def test_a_recipe_that_somebody_names_is_taken_even_if_it_is_the_default_one(weights: Path, tmp_path: Path) -> None:
    settings = planned(photographs(tmp_path / "data"), weights, recipe="default").settings_for(1000)
    assert (settings.recipe, settings.train, settings.optimizer) == ("default", "all", "sgd")


def test_a_flag_is_above_what_the_start_is(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(read_manifest(weights), multi_stage=True, lineage={"settings": {"train": "tail"}})
    monkeypatch.setattr("training.runs.plan.verify", lambda start: known)
    folder = photographs(tmp_path / "data")
    assert planned(folder, weights).settings_for(1000).train == "tail"  # as its own training was
    assert planned(folder, weights, recipe="default", train="all").settings_for(1000).multi_stage
    assert not planned(folder, weights, multi_stage=False).settings_for(1000).multi_stage


def fit(*flags: object) -> Result:
    return CliRunner().invoke(main, ["fit", *map(str, flags)])


def test_a_first_model_can_be_published_while_the_run_goes_on(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classes = {"dark": shades(30, 0, 100), "light": shades(30, 150, 250)}
    common = ("--data", write_folder(tmp_path / "data", classes), "--name", "toy", "--size", 96)
    result = fit(*common, "--from", weights, "--train", "tail", "--epochs", 1, "--batch-size", 16)
    assert result.exit_code == 0, result.output
    (run,) = tmp_path.glob("runs/toy-*")
    assert "first model" in result.output
    first, last = verify(run / "head" / "bundle"), verify(run / "bundle")
    assert (first.lineage["settings"]["train"], last.lineage["settings"]["train"]) == ("head", "tail")
    assert first.multi_stage
    assert last.multi_stage
    assert first.metrics["test"]["calibration"]["method"] == "cross-validation"
    assert json.loads((run / "history.json").read_text())["loss"]
    published = CliRunner().invoke(main, ["publish", "--force", str(run.relative_to(tmp_path) / "head")])
    assert published.exit_code == 0, published.output
    assert read_manifest(tmp_path / "exports" / "toy" / "1").class_names == ("dark", "light")


@pytest.mark.parametrize("flags", [("--train", "tail"), ("--train", "head"), ("--freeze-epochs", "1")])
def test_what_needs_good_weights_is_refused_without_them(flags: tuple[str, str]) -> None:
    result = fit("--data", "digits", "--name", "toy", *flags)
    assert result.exit_code == 2
    assert f"{flags[0]} needs a model to start from" in result.output


def test_a_job_without_a_live_version_starts_from_published_weights_as_fit_does(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "find_weights", lambda network: Path(network))
    monkeypatch.setattr(starts, "cached_bundle", lambda network, cache: weights)
    photographs(tmp_path / "data", count=20)
    (tmp_path / "job.toml").write_text('model = "toy"\ndata = "data"\n')
    done = CliRunner().invoke(main, ["retrain", str(tmp_path / "job.toml")])
    assert done.exit_code == 0, done.output
    (run,) = tmp_path.glob("runs/toy-*")
    lineage = verify(run / "bundle").lineage
    assert lineage["settings"]["train"] == "head"
    assert lineage["from"]["model"] == "start"
    assert lineage["parent_version"] is None
