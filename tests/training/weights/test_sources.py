"""Weights in packages: found without importing them, checked, and a clear sentence where they are not there."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.errors import UserError
from models.networks.registry import ARCHITECTURES
from tests.needs import NEEDS_WEIGHTS
from tests.processes import ROOT
from training.cli.app import main
from training.weights import sources
from training.weights.sources import SOURCES, MissingWeights, checked_file, class_names, find_weights

PINNED = (ROOT / "requirements-pretrained.txt").read_text(encoding="utf-8")


def test_every_source_is_of_a_network_and_its_package_is_pinned_with_a_hash() -> None:
    for source in SOURCES.values():
        assert source.network in ARCHITECTURES
        assert f"{source.package}=={source.version} --hash=sha256:" in PINNED
    assert f"{sources.CLASSES_PACKAGE}=={sources.CLASSES_VERSION} --hash=sha256:" in PINNED


def test_without_the_package_one_sentence_says_how_to_get_it_and_how_to_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = replace(SOURCES["efficientnet_lite0"], package="striate-has-no-such-package")
    monkeypatch.setitem(SOURCES, "efficientnet_lite0", missing)
    with pytest.raises(MissingWeights) as raised:
        find_weights("efficientnet_lite0")
    said = str(raised.value)
    assert "pip install --no-deps striate-has-no-such-package==0.1.0" in said
    assert missing.sha256 in said
    assert "--from scratch" in said
    result = CliRunner().invoke(main, ["weights"])
    assert "not installed" in result.output
    assert result.output.index("In packages") < result.output.index("not installed") < result.output.index("--download")


def test_a_network_without_weights_names_those_that_have_some() -> None:
    with pytest.raises(MissingWeights, match="there are weights of efficientnet_lite0, efficientnet_lite2"):
        find_weights("resnet18")


def test_a_file_of_another_content_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has the sha256"):
        checked_file("numpy", "any", "numpy/__init__.py", "0" * 64)


@NEEDS_WEIGHTS
def test_imagenets_classes_are_a_thousand_and_all_different() -> None:
    names = class_names()
    assert (len(names), len(set(names))) == (1000, 1000)
    assert (names[0], names[698], names[999]) == ("tench", "palace", "toilet paper")


@NEEDS_WEIGHTS
def test_an_imagenet_service_names_the_palace(tmp_path: Path) -> None:
    from tests.harness import running_service
    from training.weights.bundle import PHOTOGRAPHS

    runs, exports = tmp_path / "runs", tmp_path / "exports"
    arguments = ["efficientnet_lite0", "--publish", "--runs", str(runs), "--exports", str(exports)]
    result = CliRunner().invoke(main, ["import-weights", *arguments])
    assert result.exit_code == 0, result.output
    with running_service(exports, tmp_path) as service:
        import requests

        answer = requests.post(service.url + "/classify", data=PHOTOGRAPHS[0].read_bytes(), timeout=20).json()
    assert answer["predictions"][0]["label"] == "palace"
