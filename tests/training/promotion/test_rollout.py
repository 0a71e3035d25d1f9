"""A new version meets real traffic: it stays where it is as good, and goes back by itself where it is not."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.bundle.manifest import GOLDEN, read_manifest, write_manifest
from models.store.live import LiveVersionChanged, read_live, set_canary, set_live, set_shadow
from models.store.publish import publish
from tests.conftest import Training
from tests.harness import Load, RunningService, copy_of, golden_image, running_service
from tests.processes import free_port
from training.cli.app import main
from training.promotion.rollout import Rollout, find_regression, roll_out, take_back
from training.promotion.traffic import Traffic, Unreachable

QUICK = Rollout(shadow_s=1, canary_s=2, watch_s=1, canary_fraction=0.5, min_requests=20, max_latency_ratio=20)
FINE = Traffic(answered=1000, faults=2, seconds=10, images=1000, confidence=900)


def rolled_out(service: RunningService, exports: Path, version: int, rollout: Rollout = QUICK) -> str:
    """What a job does, while clients ask; no request of theirs fails."""
    with Load(service, golden_image(exports)) as load:
        load.wait_for(30)
        fault = roll_out(exports, "digits", version, 1, rollout, service.url)
    load.assert_all_answered()
    return fault


def test_a_version_as_good_goes_through_shadow_and_canary_and_stays(digits_exports: Path, tmp_path: Path) -> None:
    exports = copy_of(digits_exports, tmp_path / "exports")
    publish(exports / "digits" / "1", exports, make_live=False)
    with running_service(exports, tmp_path) as service:
        assert rolled_out(service, exports, 2) == ""
    pointer = read_live(exports / "digits")
    assert (pointer.live, pointer.previous, pointer.canary, pointer.shadow) == (2, 1, None, None)
    parts = [json.loads(line) for line in (exports / "digits" / "history.jsonl").read_text().splitlines()]
    assert [part["shadow"] for part in parts if part["shadow"]] == [2]
    assert [part["canary"] for part in parts if part["canary"]] == [2]


def test_an_unsure_version_is_taken_back_before_it_goes_live(
    digits_exports: Path, digits_training: Training, tmp_path: Path
) -> None:
    exports = copy_of(digits_exports, tmp_path / "exports")
    flags = ["--model", "lenet5", "--name", "digits", "--epochs", "1", "--learning-rate", "0.001"]
    places = ["--exports", exports, "--runs", tmp_path / "runs", "--cache", digits_training.cache]
    fitted = CliRunner().invoke(main, ["fit", "--data", "digits", *map(str, (*flags, *places))])
    assert fitted.exit_code == 0, fitted.output
    (run,) = (tmp_path / "runs").glob("[!.]*")
    publish(run / "bundle", exports, make_live=False)
    with running_service(exports, tmp_path) as service:
        fault = rolled_out(service, exports, 2, Rollout(canary_s=2, canary_fraction=0.5, min_requests=20))
    assert "confidence is lower" in fault
    pointer = read_live(exports / "digits")
    assert (pointer.live, pointer.canary) == (1, None)


def test_a_version_that_the_service_refuses_is_taken_back(digits_exports: Path, tmp_path: Path) -> None:
    exports = copy_of(digits_exports, tmp_path / "exports")
    broken = tmp_path / "broken"
    shutil.copytree(exports / "digits" / "1", broken)
    golden = broken / GOLDEN / "probabilities.json"
    rows = json.loads(golden.read_text())
    golden.write_text(json.dumps([{**row, "probabilities": row["probabilities"][::-1]} for row in rows]))
    write_manifest(broken, read_manifest(broken))
    publish(broken, exports, make_live=False)
    with running_service(exports, tmp_path) as service:
        assert "refused by the service" in rolled_out(service, exports, 2)
    assert (read_live(exports / "digits").live, read_live(exports / "digits").canary) == (1, None)


def test_without_a_service_to_watch_it_by_nothing_goes_live(
    digits_exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.promotion.traffic.PATIENCE_S", 1.0)
    exports = copy_of(digits_exports, tmp_path / "exports")
    publish(exports / "digits" / "1", exports, make_live=False)
    with pytest.raises(Unreachable, match="does not answer"):
        roll_out(exports, "digits", 2, 1, QUICK, f"http://127.0.0.1:{free_port()}")
    pointer = read_live(exports / "digits")
    assert (pointer.live, pointer.canary, pointer.shadow) == (1, None, None)
    assert roll_out(exports, "digits", 2, 1, Rollout(), "") == ""
    assert read_live(exports / "digits").live == 2


@pytest.mark.parametrize("killed", ["as canary", "live"])
def test_a_job_that_was_killed_takes_the_roll_out_up_again(digits_exports: Path, tmp_path: Path, killed: str) -> None:
    exports = copy_of(digits_exports, tmp_path / "exports")
    publish(exports / "digits" / "1", exports, make_live=False)
    if killed == "live":
        set_live(exports, "digits", 2)
    else:
        set_canary(exports, "digits", 2, 0.5)
    with running_service(exports, tmp_path) as service:
        assert rolled_out(service, exports, 2, Rollout(canary_s=1, watch_s=1, min_requests=10)) == ""
    pointer = read_live(exports / "digits")
    assert (pointer.live, pointer.previous, pointer.canary) == (2, 1, None)


@pytest.mark.parametrize(
    ("ours", "complaint"),
    [
        (Traffic(answered=40, faults=10, seconds=0.4, images=50, confidence=45), "failed 10 of 50"),
        (Traffic(answered=200, seconds=20, images=200, confidence=180), "10 times as long"),
        (Traffic(answered=200, seconds=2, images=200, confidence=100), "lower by 0.40"),
        (Traffic(agreed=100, differed=100, images=200, confidence=180), "agreed on 50.0%"),
        (Traffic(differed=200, images=200, confidence=180), "agreed on 0.0%"),
        (Traffic(answered=199, faults=1, seconds=2, images=200, confidence=180), ""),
        (Traffic(answered=20, seconds=20, images=20, confidence=0), ""),
    ],
)
def test_what_is_worse_is_said_and_chance_is_not(ours: Traffic, complaint: str) -> None:
    fault = find_regression(ours, FINE, Rollout(min_agreement=0.9), side_by_side=True)
    assert complaint in fault
    assert bool(fault) == bool(complaint)


def test_faults_are_seen_where_there_is_nothing_to_compare_with() -> None:
    assert "failed 50" in find_regression(Traffic(answered=50, faults=50), Traffic(), Rollout(), side_by_side=False)
    assert not find_regression(Traffic(answered=99, faults=1), Traffic(), Rollout(), side_by_side=False)


def test_a_service_that_was_restarted_counts_from_nothing() -> None:
    assert Traffic(answered=5, faults=1).since(Traffic(answered=100)) == Traffic(answered=5, faults=1)
    assert Traffic(answered=5).since(Traffic(answered=3)) == Traffic(answered=2)


@pytest.mark.parametrize("part", ["shadow", "canary", "live"])
def test_a_version_is_taken_back_whatever_part_it_has(digits_exports: Path, tmp_path: Path, part: str) -> None:
    exports = copy_of(digits_exports, tmp_path / "exports")
    publish(exports / "digits" / "1", exports, make_live=False)
    {
        "shadow": lambda: set_shadow(exports, "digits", 2),
        "canary": lambda: set_canary(exports, "digits", 2, 0.5),
        "live": lambda: set_live(exports, "digits", 2),
    }[part]()
    for _ in range(2):  # the second time there is nothing to do
        take_back(exports, "digits", 2)
        pointer = read_live(exports / "digits")
        assert (pointer.live, pointer.canary, pointer.shadow) == (1, None, None)


def test_what_somebody_else_makes_live_meanwhile_stays(digits_exports: Path, tmp_path: Path) -> None:
    exports = copy_of(digits_exports, tmp_path / "exports")
    for _ in range(2):
        publish(exports / "digits" / "1", exports, make_live=False)
    with running_service(exports, tmp_path) as service, Load(service, golden_image(exports)):
        operator = threading.Timer(2, set_live, (exports, "digits", 3))
        operator.start()
        with pytest.raises(LiveVersionChanged):
            roll_out(exports, "digits", 2, 1, Rollout(canary_s=30), service.url)
        operator.join()
    pointer = read_live(exports / "digits")
    assert (pointer.live, pointer.canary) == (3, None)
