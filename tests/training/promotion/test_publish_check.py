"""What a person publishes goes live only if it has learnt something and is no loss."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle.manifest import IMAGE, IMAGES, TESTED_ON, TRAINED_ON, read_manifest, write_manifest
from models.files.durable import write_array
from models.store.publish import publish
from tests.bundles import CLASS_NAMES, make_bundle
from training.promotion.publish_check import reason_to_refuse as why_not


def with_answers(folder: Path, right: np.ndarray, *, labels: np.ndarray | None = None, first_hash: int = 0) -> Path:
    """A bundle that was tested on as many images, of which it classified those right where `right` says so."""
    make_bundle(folder)
    labels = np.arange(len(right)) % 3 if labels is None else labels
    images = np.zeros(len(right) + 10, IMAGE)
    images["hash"] = np.arange(len(images)) + first_hash
    images["side"] = [TESTED_ON] * len(right) + [TRAINED_ON] * 10
    images["label"][: len(right)] = labels
    images["predicted"][: len(right)] = np.where(right, labels, (labels + 1) % 3)
    write_array(folder / IMAGES, images)
    write_manifest(folder, read_manifest(folder))
    return folder


def right(count: int, total: int = 200) -> np.ndarray:
    """So many of the images, the first ones."""
    return np.arange(total) < count


def test_a_first_model_that_has_learnt_something_is_published(tmp_path: Path) -> None:
    assert why_not(with_answers(tmp_path / "good", right(150)), tmp_path / "exports") == ""


def test_a_first_model_that_is_no_better_than_the_most_frequent_class_is_refused(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [140, 30, 30])
    always_the_first = with_answers(tmp_path / "bad", labels == 0, labels=labels)
    assert "always answering cat would get 70.0% right, which is not significantly less" in why_not(
        always_the_first, tmp_path
    )


def test_a_model_that_does_not_recognise_one_class_is_refused(tmp_path: Path) -> None:
    labels = np.arange(600) % 3
    assert f"Recall of {CLASS_NAMES[2]} is below" in why_not(
        with_answers(tmp_path / "bad", labels != 2, labels=labels), tmp_path
    )


def test_a_model_that_nothing_was_held_out_for_is_refused(tmp_path: Path) -> None:
    assert "There is no test image" in why_not(with_answers(tmp_path / "bundle", right(0, 0)), tmp_path)


@pytest.mark.parametrize(("count", "refused"), [(170, True), (185, False), (199, False)])
def test_against_a_live_version_only_a_significant_loss_is_refused(tmp_path: Path, count: int, refused: bool) -> None:
    publish(with_answers(tmp_path / "live", right(190)), tmp_path / "exports")
    reason = why_not(with_answers(tmp_path / "next", right(count)), tmp_path / "exports")
    assert ("from that of the live version 1, which is a significant loss" in reason) == refused
    assert bool(reason) == refused


def test_images_that_the_model_it_started_from_was_trained_on_judge_nobody(tmp_path: Path) -> None:
    """All its test images are among the training images of version 1, from which it was made."""
    publish(with_answers(tmp_path / "live", right(190), first_hash=1000), tmp_path / "exports")
    child = with_answers(tmp_path / "exports" / "toy" / "2", right(10, 10), first_hash=1200)
    manifest = read_manifest(child)
    write_manifest(child, replace(manifest, lineage={"parent_version": 1}))
    assert "There is no test image" in why_not(child, tmp_path / "exports")


def test_a_model_that_was_tested_on_other_images_than_the_live_version_is_refused(tmp_path: Path) -> None:
    publish(with_answers(tmp_path / "live", right(190)), tmp_path / "exports")
    other = with_answers(tmp_path / "other", right(199), first_hash=1000)
    assert "no image is known that both models were tested on" in why_not(other, tmp_path / "exports")


def test_a_model_made_from_one_of_which_nobody_knows_the_training_images_is_refused(tmp_path: Path) -> None:
    made = with_answers(tmp_path / "runs" / "made" / "bundle", right(190))
    write_manifest(made, replace(read_manifest(made), lineage={"from": None, "parent_version": 1}))
    assert "The training images of the model's ancestor toy/1 are not recorded" in why_not(made, tmp_path / "exports")
    publish(with_answers(tmp_path / "parent", right(150), first_hash=1000), tmp_path / "exports")
    reason = why_not(made, tmp_path / "exports")
    assert "no image is known that both models were tested on" in reason, "version 1 is where it was published"
