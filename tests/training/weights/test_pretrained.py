"""A file that somebody brings: known by what is in it, refused where it is of something else, named in the bundle."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from models.errors import UserError
from models.files.durable import sha256
from tests.training.weights.keras_files import small_network, write_keras_file
from tests.training.weights.safetensors_files import write_safetensors
from tests.training.weights.torch_files import write_state_dict
from tests.training.weights.torch_referee import answers, state_dict
from training.cli.app import main
from training.network.bundle_weights import load_network
from training.weights.pretrained import from_file
from training.weights.published import PUBLISHED
from training.weights.torch_file import BadWeights

NUM_CLASSES = 3
RESNET18 = state_dict("resnet18", NUM_CLASSES)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("glass\n\n metal \ncafe\u0301\n", encoding="utf-8")
    return tmp_path / "labels.txt"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import-weights", *map(str, arguments)])


@pytest.mark.parametrize("write", [write_safetensors, write_state_dict])
def test_a_state_dict_is_known_by_its_content_whatever_it_is_called(tmp_path: Path, labels: Path, write) -> None:
    options = {"zipped": True} if write is write_state_dict else {}
    path = write(tmp_path / "weights.bin", RESNET18, **options)
    found = from_file("resnet18", path, labels=labels)
    assert found.class_names == ("glass", "metal", "caf\u00e9")
    assert found.scaling == "imagenet"
    assert found.facts["sha256"] == sha256(path)
    assert (found.facts["form"], found.facts["licence"], found.facts["data"]) == ("PyTorch", "not stated", "not stated")
    kernel = RESNET18["layer4.1.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found.network.get_layer("conv5_block2_2").get_weights()[0], kernel)


def test_the_scaling_can_be_said_and_caffe_reverses_the_first_kernel(tmp_path: Path, labels: Path) -> None:
    path = write_safetensors(tmp_path / "weights", RESNET18)
    first = RESNET18["conv1.weight"].transpose(2, 3, 1, 0)
    for scaling, kernel in (("unit", first), ("caffe", first[:, :, ::-1])):
        found = from_file("resnet18", path, labels=labels, scaling=scaling)
        assert (found.scaling, found.facts["scaling"]) == (scaling, scaling)
        np.testing.assert_array_equal(found.network.get_layer("conv1").get_weights()[0], kernel)


def test_the_two_kinds_of_resnet_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    """Their weights have equal shapes, and nothing else would show that they stride in different convolutions."""
    path = write_safetensors(tmp_path / "weights", {"fc.weight": np.zeros((3, 2), np.float32)})
    with pytest.raises(UserError, match=r"PyTorch.* but not of resnet50_v1\. .*import-weights resnet50\.$"):
        from_file("resnet50_v1", path)
    path = write_keras_file(tmp_path / "weights.h5", small_network())
    with pytest.raises(UserError, match=r"Keras.* but not of resnet50\. .*import-weights resnet50_v1\.$"):
        from_file("resnet50", path)
    with pytest.raises(UserError, match=r"but not of lenet5\.$"):
        from_file("lenet5", path)


def test_a_file_without_the_last_layer_is_refused(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "weights", {"conv1.weight": RESNET18["conv1.weight"]})
    with pytest.raises(BadWeights, match=r"no tensor fc\.weight, which resnet18 needs"):
        from_file("resnet18", path)


def test_a_file_under_the_name_of_a_published_one_has_to_be_that(tmp_path: Path, labels: Path) -> None:
    name = PUBLISHED["resnet18"].file
    path = write_safetensors(tmp_path / name, RESNET18)
    with pytest.raises(
        BadWeights, match=r"has the sha256 [0-9a-f]{16}\.\.\., and resnet18-f37072fd\.pth of https://.*"
    ):
        from_file("resnet18", path, labels=labels)
    path.rename(tmp_path / "mine.pth")
    assert from_file("resnet18", tmp_path / "mine.pth", labels=labels).class_names[0] == "glass"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"one\ntwo\n", "has 2 names, 2 of them different, and the file of weights has 3 classes"),
        (b"one\ntwo\ntwo\n", "has 3 names, 2 of them different"),
        (b"one\ntwo\nthr/ee\n", "has a slash"),
        (b"one\ntwo\n\xff\n", "is no text in UTF-8"),
    ],
)
def test_labels_that_do_not_name_the_classes_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = write_safetensors(tmp_path / "weights", RESNET18)
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        from_file("resnet18", path, labels=tmp_path / "labels.txt")


def test_other_classes_than_imagenets_need_names(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "weights", RESNET18)
    with pytest.raises(UserError, match="has 3 classes, which are not ImageNet's: name them by --labels FILE"):
        from_file("resnet18", path)


def test_the_bundle_of_a_file_answers_as_the_referee_and_names_scaling_and_source(tmp_path: Path, labels: Path) -> None:
    path = write_safetensors(tmp_path / "weights.safetensors", RESNET18)
    runs = tmp_path / "runs"
    result = run(
        "resnet18", "--file", path, "--labels", labels, "--sha256", sha256(path), "--name", "own", "--runs", runs
    )
    assert result.exit_code == 0, result.output
    (bundle,) = runs.glob("own-*/bundle")
    network, manifest = load_network(bundle)
    assert (manifest.scaling, manifest.architecture) == ("imagenet", "resnet18")
    weights = json.loads((bundle / "assets.extra/manifest.json").read_text())["lineage"]["weights"]
    assert (weights["file"], weights["sha256"]) == ("weights.safetensors", sha256(path))
    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    logits = answers("resnet18", RESNET18, image)
    np.testing.assert_allclose(network(image[None], training=False)[0], logits, rtol=0, atol=1e-5 * abs(logits).max())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["resnet18"],
            r"No package carries weights of resnet18\. --download fetches resnet18-f37072fd\.pth \(46\.8 MB\)",
        ),
        (["vgg11"], r"No package carries weights of vgg11\. A file of such weights is taken by --file PATH"),
        (["nin"], r"No package carries weights of nin\. efficientnet_lite0 and efficientnet_lite2 come in packages"),
        (["nin", "--download"], "No package carries weights of nin"),
        (["lenet6"], "No architecture is called 'lenet6'"),
        (["resnet18", "--file", __file__], "is damaged or no state dict"),
        (["resnet18", "--file", __file__, "--sha256", "00"], "--sha256 says 00: fetch the file again"),
        (["resnet18", "--file", __file__, "--download"], "give one of them"),
        (["resnet18", "--download", "--scaling", "unit"], "are for --file"),
    ],
)
def test_what_cannot_be_done_ends_with_what_to_do_and_no_traceback(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2)  # 2 where the flags do not go together
    assert "Traceback" not in result.output
    assert re.search(complaint, result.output), result.output


def test_what_can_be_downloaded_is_listed_apart_from_what_packages_carry() -> None:
    result = CliRunner().invoke(main, ["weights", "--json"])
    rows = json.loads(result.output)
    assert {row["network"] for row in rows if row["from"] == "download"} == PUBLISHED.keys()
    assert {row["network"] for row in rows if row["from"] == "package"} == {"efficientnet_lite0", "efficientnet_lite2"}
