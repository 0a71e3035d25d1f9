"""Where a model comes from, and which images it and what it comes from were trained on."""

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from models.bundle.manifest import IMAGE, IMAGES, MANIFEST, TRAINED_ON, read_images, read_manifest, write_manifest
from models.files.durable import write_array
from models.store.history import about_version, sentences
from models.store.publish import publish
from tests.bundles import make_bundle
from tests.conftest import Training
from training.cli.app import main
from training.cli.bundles import said_of_trained_on
from training.data.dataset import find_images
from training.evaluate.labelled import read_labelled
from training.evaluate.trained_on import images_trained_on, started_from
from training.runs.plan import plan_of_table

QUIET = Console(file=io.StringIO())


def made_with(bundle: Path, hashes: list[int], *, model: str = "toy", **lineage: Any) -> Path:
    """A bundle with weights of its own that was trained on these images."""
    make_bundle(bundle, model=model)
    (bundle / "variables" / "variables.data-00000-of-00001").write_bytes(str(bundle).encode())
    images = np.zeros(len(hashes), IMAGE)
    images["hash"], images["side"] = hashes, TRAINED_ON
    write_array(bundle / IMAGES, images)
    write_manifest(bundle, replace(read_manifest(bundle), lineage=lineage))
    return bundle


def start_of(bundle: Path, version: int | None, *, recorded: Path | None = None) -> dict[str, Any]:
    """What a lineage says of a bundle that training started from."""
    manifest = read_manifest(bundle)
    weights = manifest.files["variables/variables.data-00000-of-00001"]
    said = {"model": manifest.model, "bundle": str(recorded or bundle), "weights_sha256": weights}
    return said if version is None else {**said, "version": version}


def test_published_weights_are_no_ancestor_whose_images_would_have_to_be_known(tmp_path: Path) -> None:
    source = {"package": "weights", "data": "ImageNet-1k"}
    published = made_with(tmp_path / "cache" / "bundle", [], model="imagenet", weights=source)
    start = started_from(read_manifest(published), published)
    assert start["published"] == source
    first = made_with(tmp_path / "exports" / "toy" / "1", [1], **{"from": start, "parent_version": None})
    shutil.rmtree(published)
    hashes, unknown = images_trained_on(first)
    assert (hashes.tolist(), unknown) == ([1], [])


def test_the_parents_of_a_version_are_those_of_its_own_model(tmp_path: Path) -> None:
    exports, nowhere = tmp_path / "exports", tmp_path / "nowhere"
    first = made_with(exports / "toy" / "1", [1])
    other = made_with(exports / "other" / "1", [2], model="other")
    start = start_of(other, 1, recorded=nowhere)
    second = made_with(exports / "toy" / "2", [3], **{"from": start, "parent_version": None})
    hashes, unknown = images_trained_on(second)
    assert (hashes.tolist(), unknown) == ([2, 3], [])
    start = start_of(second, 2, recorded=nowhere)
    third = made_with(exports / "toy" / "3", [4], **{"from": start, "parent_version": 2})
    from_scratch = made_with(exports / "toy" / "4", [5], **{"from": None, "parent_version": 3})
    assert images_trained_on(third)[0].tolist() == [2, 3, 4]
    assert images_trained_on(from_scratch)[0].tolist() == [2, 3, 4, 5]
    assert images_trained_on(first)[0].tolist() == [1]


def test_a_run_that_was_started_from_is_found_where_it_lay(tmp_path: Path) -> None:
    run = made_with(tmp_path / "runs" / "toy-1" / "bundle", [1])
    version = made_with(tmp_path / "exports" / "toy" / "1", [2], **{"from": start_of(run, None)})
    assert images_trained_on(version)[0].tolist() == [1, 2]


def test_what_is_gone_or_is_another_bundle_by_now_is_unknown(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    first = made_with(exports / "toy" / "1", [1])
    second = made_with(exports / "toy" / "2", [2], **{"from": start_of(first, 1), "parent_version": 1})
    shutil.rmtree(first)
    assert images_trained_on(second)[1] == ["toy/1"]
    made_with(exports / "toy" / "1", [3])
    (first / "variables" / "variables.data-00000-of-00001").write_bytes(b"others")
    write_manifest(first, read_manifest(first))
    hashes, unknown = images_trained_on(second)
    assert (hashes.tolist(), unknown) == ([2], ["toy/1"])


def test_a_lineage_of_the_last_version_of_striate_is_followed_too(tmp_path: Path) -> None:
    """It named the parent of a retrained version, and of another only where it lay."""
    exports = tmp_path / "exports"
    first = made_with(exports / "toy" / "1", [1])
    retrained = start_of(first, None, recorded=tmp_path / "moved")
    second = made_with(exports / "toy" / "2", [2], **{"from": retrained, "parent_version": 1})
    third = made_with(exports / "toy" / "3", [3], **{"from": start_of(second, None), "parent_version": None})
    assert images_trained_on(third)[0].tolist() == [1, 2, 3]
    about = about_version(exports / "toy", 3)
    assert f"parent      none, trained from the weights of toy in {second}" in sentences(about)


@pytest.mark.parametrize("start", ["version", "run"])
def test_the_version_that_training_starts_from_is_the_parent(digits_training: Training, start: str) -> None:
    exports = digits_training.exports
    bundle = exports / "digits" / "1" if start == "version" else digits_training.run / "bundle"
    plan = plan_of_table({"flip": False}, find_images("digits", digits_training.cache), bundle)
    origin = plan.origin("digits", exports)
    assert (origin["parent_version"], origin["from"]["version"]) == (1, 1)
    of_another = plan.origin("numbers", exports)
    assert (of_another["parent_version"], of_another["from"]["model"], of_another["from"]["version"]) == (
        None,
        "digits",
        1,
    )
    elsewhere = plan.origin("digits", exports.parent / "nowhere")
    assert (elsewhere["parent_version"], elsewhere["from"]["version"]) == (None, None)


def test_explain_tells_the_parent_and_the_weights_that_training_started_from(tmp_path: Path) -> None:
    other = made_with(tmp_path / "other", [1], model="other")
    of_ours, of_others = start_of(made_with(tmp_path / "ours", [2]), 1), start_of(other, 4)
    for number, origin, words in (
        (1, {"from": None, "parent_version": None}, "none, trained from random weights"),
        (2, {"from": of_ours, "parent_version": 1}, "version 1, trained from the weights of toy version 1"),
        (3, {"from": of_others, "parent_version": None}, "none, trained from the weights of other version 4"),
    ):
        publish(made_with(tmp_path / f"bundle-{number}", [number], **origin), tmp_path / "exports")
        assert f"parent      {words}" in sentences(about_version(tmp_path / "exports" / "toy", number))


def test_evaluate_says_how_many_of_the_images_the_model_was_trained_on(
    digits_training: Training, tmp_path: Path
) -> None:
    listed = read_images(digits_training.run / "bundle")
    trained_on, count = set(listed["hash"][listed["side"] == TRAINED_ON].tolist()), 0
    for name in ("3", "8"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in sorted((digits_training.cache / "datasets" / "digits" / name).iterdir())[:20]:
            data = path.read_bytes()
            (tmp_path / "data" / name / path.name).write_bytes(data)
            if int(hashlib.sha256(data).hexdigest()[:16], 16) in trained_on:
                count += 1
                Image.open(path).save(tmp_path / "data" / name / "copy.bmp")  # other bytes, the same picture
    command = ["evaluate", str(digits_training.run), "--data", str(tmp_path / "data"), "--cache", str(tmp_path)]
    metrics = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert (metrics["num_images"], metrics["trained_on"], metrics["near_trained_on"]) == (42, count, 2)
    assert 10 < count < 40
    printed = CliRunner().invoke(main, command).stdout
    assert f"trained on                   {count} of these images, and near duplicates of 2 others" in printed


def test_a_bundle_that_does_not_say_what_it_was_trained_on_is_no_model_without_training_images(
    digits_training: Training, tmp_path: Path
) -> None:
    bundle = shutil.copytree(digits_training.run / "bundle", tmp_path / "bundle")
    manifest = read_manifest(bundle)
    (bundle / IMAGES).unlink()
    seen = read_labelled(bundle, manifest, "digits", digits_training.cache, QUIET).seen()
    assert seen == {"trained_on": None, "near_trained_on": None, "unknown_ancestors": []}
    assert "an unknown number" in said_of_trained_on(seen)
    shutil.copyfile(digits_training.run / "bundle" / IMAGES, bundle / IMAGES)
    (bundle / MANIFEST).unlink()
    lost = {"model": "digits", "bundle": "nowhere", "weights_sha256": "", "version": 7}
    write_manifest(bundle, replace(manifest, lineage={"from": lost, "parent_version": 7}))
    seen = read_labelled(bundle, manifest, "digits", digits_training.cache, QUIET).seen()
    assert seen["unknown_ancestors"] == ["digits/7"]
    assert "it is made from digits/7, and what that was trained on is unknown" in said_of_trained_on(seen)
