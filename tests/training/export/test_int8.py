"""The 8-bit form: made by default where enough held-out images can judge it, and kept only if it says the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13

from models.bundle.manifest import GOLDEN, INT8, read_manifest, verify, write_manifest
from models.bundle.preprocessing import InputSpec
from service.engine.backend import Backend
from service.engine.loading import Unfaithful, fastest_faithful, load
from service.engine.pace import AT_ONCE
from tests.conftest import Training
from training.export import int8
from training.export.int8 import Images, best_of_precisions, interval_of, make_faithful_form


@pytest.fixture
def unsealed(digits_training: Training, tmp_path: Path) -> Path:
    """The trained bundle of the digits, as it is before its 8-bit form is made."""
    bundle = tmp_path / "run" / "bundle"
    shutil.copytree(digits_training.run / "bundle", bundle)
    shutil.rmtree(bundle / INT8, ignore_errors=True)
    return bundle


def images_for(bundle: Path, num_held_out: int = 40) -> Images:
    """Noise, of which nobody asks which digit it is."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, *read_manifest(bundle).input_spec.shape), np.uint8)
    held_out = np.arange(20, 20 + num_held_out)
    return Images(pixels, np.arange(20), held_out, np.zeros(num_held_out, np.int64), held_out, flip=False)


def test_training_makes_the_form_by_itself_where_held_out_images_can_judge_it(digits_training):
    manifest = verify(digits_training.run / "bundle")
    found = manifest.metrics["int8"]
    assert found["num_images"] == 536  # those to validate and those to test
    assert found["num_compared"] == 4 * 536
    assert found["agreement"] >= 0.99
    least, most = found["agreement_interval"]
    assert 0 <= least <= found["agreement"] <= most <= 1
    assert "making the 8-bit form and comparing it with float32" in digits_training.output
    assert manifest.lineage["settings"]["int8"] == "auto"


def made(bundle: Path, asked: Any, images: Images | None = None, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    manifest = replace(read_manifest(bundle), **changes)
    metrics = make_faithful_form(bundle, manifest, images or images_for(bundle), asked, said.append)
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]  # nothing is left beside it
    return metrics, said


def test_with_few_held_out_images_it_is_made_only_if_somebody_asks(unsealed, monkeypatch):
    metrics, said = made(unsealed, "auto")
    assert metrics == {}
    assert said == [
        "no 8-bit form: it is compared on 500 held-out images or more, and there are 40; --int8 on takes those"
    ]
    assert not (unsealed / INT8).exists()
    monkeypatch.setattr(int8, "ENOUGH", 0.0)
    metrics, said = made(unsealed, "on")
    assert metrics["int8"]["num_compared"] == 2000
    assert (unsealed / INT8 / "model.xml").exists()


def test_near_duplicates_among_the_held_out_images_count_once(unsealed):
    many = images_for(unsealed)
    rows = np.tile(many.held_out, 20)
    images = replace(many, held_out=rows, labels=np.zeros(len(rows), np.int64), groups=rows)
    assert "and there are 40;" in made(unsealed, "auto", images)[1][0]


@pytest.mark.parametrize(
    ("asked", "changes"), [("off", {}), ("on", {"task": "multi_label"}), ("on", {"engines": ("tensorflow",)})]
)
def test_nothing_is_made_where_nobody_wants_it_or_nothing_could_compute_it(unsealed, asked, changes):
    assert made(unsealed, asked, **changes) == ({}, [])
    assert not (unsealed / INT8).exists()


def test_a_form_that_says_something_else_too_often_is_not_kept(unsealed, monkeypatch):
    monkeypatch.setattr(int8, "ENOUGH", 1.01)
    metrics, said = made(unsealed, "on")
    assert metrics == {}
    assert said[-1].startswith("no 8-bit form: int8 gives the same class as float32 for ")
    assert not (unsealed / INT8).exists()


def test_a_network_that_cannot_be_quantized_gets_a_bundle_without_the_form(unsealed):
    (unsealed / "saved_model.pb").write_bytes(b"no graph")
    metrics, said = made(unsealed, "on")
    assert metrics == {}
    assert said[-1].startswith("The 8-bit form could not be made: ")
    assert not (unsealed / INT8).exists()


def test_copies_of_one_image_are_no_further_evidence():
    rng = np.random.default_rng(0)
    shares = rng.integers(0, 2, 400).astype(float)
    least, most = interval_of(shares, np.arange(400))
    error = 1.96 * shares.std() / np.sqrt(400)
    assert (least, most) == pytest.approx((shares.mean() - error, shares.mean() + error))
    again = interval_of(np.tile(shares, 4), np.tile(np.arange(400), 4))
    assert again == pytest.approx((least, most))  # four of each say no more than one


def test_further_outputs_of_a_network_stay_in_its_8_bit_form(unsealed):
    core = openvino.Core()
    network = core.read_model(unsealed)
    *_, last = (node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution")
    maps = opset13.result(last.output(0))
    maps.output(0).set_names({"maps"})
    network.add_results([maps])
    request = int8.Request(str(unsealed), InputSpec(32, 32, 1), "", False, 40, (0,), 0.0)
    quantized, found = best_of_precisions(core, network, images_for(unsealed), request)
    names = [output.get_any_name() for output in quantized.outputs]
    assert "probabilities" in names
    assert len(names) == len(network.outputs)
    assert found.num_compared == 40


class Timed(Backend):
    """A model that takes as long as its precision says."""

    def __init__(self, bundle: Path, precision: str, *_: Any) -> None:
        self.precision = precision

    def start(self, images: np.ndarray) -> Any:
        raise AssertionError("nobody computes it here")

    finish = start


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"float32": 3.0, "bfloat16": 2.0, "int8": 1.0}, "int8"),
        ({"float32": 3.0, "bfloat16": 1.0, "int8": 2.0}, "bfloat16"),
        ({"float32": 1.0, "bfloat16": 0.98, "int8": 0.97}, "float32"),  # nearly as fast, and exact
        ({"float32": 1.0}, "float32"),
    ],
)
def test_the_fastest_form_is_served_and_the_most_exact_of_equals(digits_exports, monkeypatch, times, chosen):
    monkeypatch.setattr("service.engine.loading.check_golden", lambda *_: None)
    monkeypatch.setattr("service.engine.loading.seconds_an_image", lambda backend, *_: times[backend.precision])
    bundle = digits_exports / "digits" / "1"
    backend, reason = fastest_faithful(Timed, bundle, tuple(times), read_manifest(bundle), 8, AT_ONCE)
    assert backend.precision == chosen
    assert all(name in reason for name in times) or reason == "the only one here"


@pytest.mark.parametrize("measured", [True, False])
def test_a_sound_8_bit_form_does_not_excuse_a_network_that_answers_otherwise_than_it_did(
    digits_training, tmp_path, measured
):
    bundle = shutil.copytree(digits_training.run / "bundle", tmp_path / "bundle")
    golden = bundle / GOLDEN / "probabilities.json"
    rows = json.loads(golden.read_text())
    golden.write_text(json.dumps([{**row, "probabilities": row["probabilities"][::-1]} for row in rows]))
    write_manifest(bundle, read_manifest(bundle))
    with pytest.raises(Unfaithful, match="differs by"):
        load(bundle, "openvino", "auto", 4, measured=measured)
