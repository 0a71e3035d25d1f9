"""Which model answers requests that name none: the first one that was published, until somebody says otherwise."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.bundle.manifest import BrokenBundle
from models.store.default import read_default
from models.store.layout import published_models
from models.store.live import read_live
from models.store.publish import publish, set_default
from service.cli.app import main
from tests.bundles import make_bundle
from tests.models.store.test_publish_killed import AFTER_POINTING, BEFORE_RENAME, DIES
from tests.processes import start


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "other", model="pets")


def test_the_first_model_is_the_default_and_no_later_one_takes_that_from_it(
    bundle: Path, other: Path, exports: Path
) -> None:
    for published in (bundle, other, other, bundle):
        publish(published, exports)
        assert read_default(exports) == "toy"


def test_the_one_model_that_older_versions_published_stays_the_default(
    bundle: Path, other: Path, exports: Path
) -> None:
    publish(bundle, exports)
    (exports / "default.json").unlink()
    publish(other, exports)
    assert read_default(exports) == "toy"


def test_exports_with_several_models_and_no_default_stay_without(bundle: Path, other: Path, exports: Path) -> None:
    publish(bundle, exports)
    publish(other, exports)
    (exports / "default.json").unlink()
    publish(make_bundle(exports.with_name("third"), model="third"), exports)
    assert read_default(exports) is None


def test_a_command_changes_the_default_and_says_which_it_is(bundle: Path, other: Path, exports: Path) -> None:
    def command(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--exports", str(exports)])
        assert result.exit_code == 0, result.output
        return result.output

    assert command("default") == "default model: none; striate default MODEL makes one the default\n"
    publish(bundle, exports)
    publish(other, exports)
    assert command("default") == "default model: toy\n"
    assert command("default", "pets") == "default model: pets\n"
    lines = command("models").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["pets, default", "toy"]


def test_a_default_that_is_not_there_is_said(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    (exports / "default.json").write_text('{"model": "gone"}')
    result = CliRunner().invoke(main, ["default", "--exports", str(exports)])
    assert "default.json names gone, which has no version there." in result.output
    assert "default model: none" in result.output
    with pytest.raises(BrokenBundle, match="has no model gone; it has toy"):
        set_default(exports, "gone")
    (exports / "empty").mkdir()  # as a first publication leaves it that failed
    with pytest.raises(BrokenBundle, match="empty has no version yet; publish one first"):
        set_default(exports, "empty")


def test_a_damaged_history_hinders_no_promotion(bundle: Path, exports: Path) -> None:
    publish(bundle, exports)
    (exports / "toy" / "history.jsonl").write_bytes(b"\xff\n")
    publish(bundle, exports)
    assert read_live(exports / "toy").live == 2


@pytest.mark.parametrize("said", ["{", '"toy"', '{"model": 1}', "{}"])
def test_a_default_that_cannot_be_read_is_said(bundle: Path, exports: Path, said: str) -> None:
    publish(bundle, exports)
    (exports / "default.json").write_text(said)
    with pytest.raises(BrokenBundle, match=r"default\.json names no model \(.*\); striate default MODEL"):
        read_default(exports)
    set_default(exports, "toy")
    assert read_default(exports) == "toy"


@pytest.mark.parametrize("step", [*BEFORE_RENAME, "renamed", *AFTER_POINTING])
def test_a_kill_while_a_second_model_is_published_changes_no_default(
    bundle: Path, other: Path, exports: Path, step: str
) -> None:
    publish(bundle, exports)
    (exports / "default.json").unlink()
    killed = start("-c", DIES, other, exports, step, log=exports / "log")
    assert killed.wait(60) == -signal.SIGKILL, (exports / "log").read_text()
    assert read_default(exports) == "toy" or published_models(exports) == ["toy"]
