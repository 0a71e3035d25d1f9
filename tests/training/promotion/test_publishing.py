"""A command that publishes may be killed anywhere, and given again: there is one version, and it is live."""

from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from models.store import publish as exports
from models.store.history import version_of
from models.store.live import read_live, roll_back, set_live
from tests.bundles import make_bundle, verified_versions
from tests.images import shades, write_folder
from training.cli.app import main
from training.promotion.publishing import publish_once


class Killed(BaseException):
    """No handler catches it, as none catches SIGKILL."""


def striate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("step", ["renamed", "pointed", "finish"])
def test_a_fit_that_is_killed_while_it_publishes_publishes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = write_folder(tmp_path / "data", {"dark": shades(30, 0, 100), "light": shades(30, 120, 255, seed=1)})
    flags = ("--epochs", 3, "--batch-size", 8, "--learning-rate", 0.02, "--publish")
    places = [f"--{name}={tmp_path / name}" for name in ("runs", "cache", "exports")]
    command = ("fit", "--data", folder, "--model", "lenet5", "--name", "toy", *flags, *places)

    def die(reached: object) -> None:
        if step in (reached, "finish"):
            raise Killed

    with monkeypatch.context() as patch:
        if step == "finish":
            patch.setattr("training.runs.directory.finish", die)
        else:
            patch.setattr("training.promotion.publishing.publish", partial(exports.publish, on_step=die))
        with pytest.raises(Killed):
            striate(*command)
    result = striate(*command)
    assert result.exit_code == 0, result.output
    home = tmp_path / "exports" / "toy"
    assert verified_versions(home) == [1]
    assert read_live(home).live == 1
    assert len(list((tmp_path / "runs").glob("[!.]*"))) == 1


def test_who_publishes_a_bundle_again_by_command_means_it(tmp_path: Path) -> None:
    bundle, home = make_bundle(tmp_path / "bundle"), tmp_path / "exports"
    for _ in range(2):
        assert striate("publish", bundle, "--force", "--exports", home).exit_code == 0
    assert verified_versions(home / "toy") == [1, 2]


def test_a_version_that_was_taken_back_meanwhile_is_not_made_live_again(tmp_path: Path) -> None:
    first, second = (make_bundle(tmp_path / name, content=name.encode()) for name in ("first", "second"))
    exports.publish(first, tmp_path / "exports")
    assert publish_once(second, tmp_path / "exports") == 2
    set_live(tmp_path / "exports", "toy", 1)
    assert publish_once(second, tmp_path / "exports") == 2
    assert read_live(tmp_path / "exports" / "toy").live == 1


def test_a_bundle_is_found_among_the_versions_by_its_content_or_its_place(tmp_path: Path) -> None:
    first, second = (make_bundle(tmp_path / name, content=name.encode()) for name in ("first", "second"))
    home = tmp_path / "exports" / "toy"
    assert version_of(first, home) is None
    for bundle in (first, second, second):
        exports.publish(bundle, tmp_path / "exports")
    assert [version_of(bundle, home) for bundle in (first, second, home / "3")] == [1, 2, 3]
    assert version_of(make_bundle(tmp_path / "other"), home) is None


def test_a_version_whose_history_is_damaged_or_cut_off_counts_as_live_before(tmp_path: Path) -> None:
    first, second = (make_bundle(tmp_path / name, content=name.encode()) for name in ("first", "second"))
    exports.publish(first, tmp_path / "exports")
    exports.publish(second, tmp_path / "exports")
    history = tmp_path / "exports" / "toy" / "history.jsonl"
    history.write_bytes(history.read_bytes().splitlines()[0] + b"\n{\xff")  # killed before the second line was there
    roll_back(tmp_path / "exports", "toy")
    assert publish_once(second, tmp_path / "exports") == 2
    assert read_live(tmp_path / "exports" / "toy").live == 1
