"""The gate: what is better is promoted, what does harm is rejected, what is neither is held; each with its reason."""

from dataclasses import replace

import numpy as np
import pytest

from models.files.typed import WrongType, typed
from training.evaluate.significance import Paired, fisher_p_value, holm
from training.promotion.gate import Evidence, Finding, Gate, ModelPredictions
from training.promotion.rules import judge, reasons

NAMES = ("cat", "dog")
FAST = [10.0] * 20


def answered(
    right: np.ndarray, labels: np.ndarray, *, confidence: float = 0.9, latency_ms: float = 10.0
) -> ModelPredictions:
    """A model that is right where `right` says so, always as sure."""
    said = np.where(right, labels, 1 - labels)
    probabilities = np.full((len(labels), 2), 1 - confidence)
    probabilities[np.arange(len(labels)), said] = confidence
    return ModelPredictions(NAMES, probabilities, [latency_ms] * 20, 1_000_000)


def evidence(
    champion: np.ndarray | None, challenger: np.ndarray, *, newest: np.ndarray | None = None, seed: int = 0
) -> Evidence:
    labels = np.random.default_rng(seed).integers(0, 2, len(challenger))
    return Evidence(
        labels=np.array(NAMES, object)[labels],
        newest=np.zeros(len(challenger), bool) if newest is None else newest,
        challenger=answered(challenger, labels),
        champion=None if champion is None else answered(champion, labels),
    )


def right(count: int, total: int, *, seed: int = 0) -> np.ndarray:
    """So many of the images, anywhere."""
    flags = np.zeros(total, bool)
    flags[np.random.default_rng(seed).permutation(total)[:count]] = True
    return flags


def found(findings: list[Finding], rule: str) -> Finding:
    return next(finding for finding in findings if finding.rule == rule)


def test_a_significantly_better_model_is_promoted() -> None:
    champion = right(800, 1000)
    challenger = champion | right(400, 1000, seed=1)
    verdict, findings = judge(evidence(champion, challenger), Gate())
    assert verdict == "promote"
    assert "frozen held-out" in reasons(findings, verdict)


def test_an_equal_model_is_held_and_told_what_so_many_images_can_show() -> None:
    verdict, findings = judge(evidence(right(900, 1000), right(900, 1000, seed=1)), Gate())
    assert verdict == "hold"
    assert "not shown to be better" in reasons(findings, verdict)
    assert "a difference below 3.7 points with a probability below 80%" in found(findings, "better").reason


def test_an_equal_model_is_promoted_where_not_worse_is_enough() -> None:
    same = right(900, 1000)
    verdict, findings = judge(evidence(same, same), Gate(promote="not-worse"))
    assert verdict == "promote"
    assert "by no less than" in reasons(findings, verdict)


def test_a_significantly_worse_model_is_rejected() -> None:
    champion = right(900, 1000)
    challenger = champion & ~right(100, 1000, seed=1)
    verdict, findings = judge(evidence(champion, challenger), Gate())
    assert verdict == "reject"
    assert found(findings, "not worse").outcome == "reject"


def test_few_images_prove_nothing_and_hold() -> None:
    champion = right(9, 10)
    verdict, findings = judge(evidence(champion, champion), Gate(promote="not-worse"))
    assert verdict == "hold"
    assert "cannot be excluded" in reasons(findings, verdict)


def test_a_gain_on_the_newest_images_alone_is_a_gain() -> None:
    newest = np.arange(2000) >= 1000
    champion = right(1800, 2000)
    champion[newest] = right(300, 1000)
    challenger = champion.copy()
    challenger[newest] = right(900, 1000)
    verdict, findings = judge(evidence(champion, challenger, newest=newest), Gate())
    assert verdict == "promote"
    assert "newest images" in reasons(findings, verdict)


def test_labels_that_cannot_be_learned_are_rejected_as_wrong() -> None:
    newest = np.arange(1000) >= 900
    champion = right(950, 1000)
    champion[newest] = right(10, 100)
    verdict, findings = judge(evidence(champion, champion, newest=newest), Gate())
    assert verdict == "reject"
    assert "likely wrong" in found(findings, "newest").reason


def test_a_class_that_is_given_up_holds_although_the_whole_is_better() -> None:
    labels = np.repeat([0, 1], [300, 1700])
    champion, challenger = np.ones(2000, bool), np.ones(2000, bool)
    champion[300:700] = False
    challenger[:60] = False  # a fifth of the cats
    judged = Evidence(
        np.array(NAMES, object)[labels],
        np.zeros(2000, bool),
        answered(challenger, labels),
        answered(champion, labels),
    )
    verdict, findings = judge(judged, Gate())
    assert verdict == "hold"
    assert "cat by -20.00 points" in found(findings, "classes' recall").reason


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"leaked": 3}, "hold-out"),
        ({"golden": "golden image 2 differs by 0.4 in probability"}, "golden"),
    ],
)
def test_what_must_never_happen_is_rejected_whatever_accuracy_says(change: dict, rule: str) -> None:
    champion = right(800, 1000)
    judged = evidence(champion, np.ones(1000, bool))
    verdict, findings = judge(replace(judged, **change), Gate())
    assert verdict == "reject"
    assert found(findings, rule).outcome == "reject"


def test_a_slow_a_large_and_a_forgetful_model_are_rejected() -> None:
    champion = right(800, 1000)
    judged = evidence(champion, np.ones(1000, bool))
    slow = replace(judged, challenger=replace(judged.challenger, latencies_ms=[16.0] * 20))
    assert found(judge(slow, Gate())[1], "latency").outcome == "reject"
    assert found(judge(slow, Gate(max_latency_ratio=0))[1], "latency").outcome == "pass"
    large = replace(judged, challenger=replace(judged.challenger, num_bytes=3_000_000))
    assert found(judge(large, Gate())[1], "size").outcome == "reject"
    assert found(judge(large, Gate(max_size_ratio=4))[1], "size").outcome == "pass"
    assert judged.champion is not None
    more = replace(judged, champion=replace(judged.champion, class_names=("cat", "eel")))
    assert found(judge(more, Gate())[1], "classes").reason == "It no longer knows eel."


def test_a_class_that_is_lost_is_told_before_a_new_one_that_nobody_can_judge() -> None:
    judged = evidence(right(800, 1000), np.ones(1000, bool))
    assert judged.champion is not None
    swapped = replace(judged, champion=replace(judged.champion, class_names=("cat", "owl")))
    more = replace(
        swapped.challenger,
        class_names=(*NAMES, "eel"),
        probabilities=np.pad(judged.challenger.probabilities, ((0, 0), (0, 1))),
    )
    finding = found(judge(replace(swapped, challenger=more), Gate())[1], "classes")
    assert (finding.outcome, finding.reason) == ("reject", "It no longer knows owl.")


def test_an_overconfident_model_is_held() -> None:
    champion = right(900, 1000)
    judged = evidence(champion, champion | right(500, 1000, seed=1))
    labels = (judged.labels == "dog").astype(int)
    sure = answered(right(700, 1000), labels, confidence=0.999)
    finding = found(judge(replace(judged, challenger=sure), Gate())[1], "calibration")
    assert finding.outcome == "hold"


def test_a_new_class_that_nobody_can_judge_holds() -> None:
    champion = right(800, 1000)
    judged = evidence(champion, np.ones(1000, bool))
    wider = np.pad(judged.challenger.probabilities, ((0, 0), (0, 1)))
    more = replace(judged, challenger=replace(judged.challenger, class_names=(*NAMES, "eel"), probabilities=wider))
    finding = found(judge(more, Gate())[1], "classes")
    assert (finding.outcome, "eel" in finding.reason) == ("hold", True)


def test_without_a_champion_chance_is_not_enough() -> None:
    rng = np.random.default_rng(0)
    guessing = evidence(None, rng.random(400) < 0.5)
    assert judge(guessing, Gate())[0] == "reject"
    good = evidence(None, right(380, 400))
    assert judge(good, Gate())[0] == "promote"
    assert judge(good, Gate(min_accuracy=0.99))[0] == "reject"


def test_of_two_equally_good_models_better_is_said_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(7)
    said = 0
    for i in range(300):
        first, second = rng.random(1000) < 0.9, rng.random(1000) < 0.9
        _, findings = judge(evidence(first, second, newest=np.arange(1000) >= 800, seed=i), Gate())
        said += found(findings, "better").outcome == "pass"
    assert said <= 0.05 * 300 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_settings_of_the_gate_that_make_no_sense_are_refused() -> None:
    with pytest.raises(WrongType, match=r"\$\.alpha"):
        typed({"alpha": 1.0}, Gate)
    with pytest.raises(WrongType, match=r">= 0.0 - at `\$\.margin`"):
        typed({"margin": -1.0}, Gate)
    with pytest.raises(WrongType, match="always"):
        typed({"promote": "always"}, Gate)


def test_mcnemars_exact_test_and_its_interval_agree_with_the_literature() -> None:
    pairs = Paired(both=794, only_champion=150, only_challenger=86, neither=570)  # Agresti, 2002, table 10.1
    assert pairs.difference == pytest.approx(-0.04)
    low, high = pairs.interval()
    assert (low, high) == (pytest.approx(-0.0588, abs=5e-4), pytest.approx(-0.0212, abs=5e-4))
    assert pairs.p_value() == pytest.approx(3.7e-5, rel=0.1)
    assert Paired(5, 0, 0, 5).p_value() == 1.0


def test_holm_stops_at_the_first_that_is_not_significant() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert holm([], 0.05) == []


def test_fishers_test_sees_more_failures_and_not_fewer() -> None:
    assert fisher_p_value((10, 100), (0, 1000)) < 0.001
    assert fisher_p_value((0, 100), (10, 100)) == pytest.approx(1.0)
