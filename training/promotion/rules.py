"""Whether a challenger may take the champion's place: rules on the same held-out images, each with its reason.

A rule passes, holds (a person may decide otherwise) or rejects (it would do harm); the worst of them is the verdict.
Nothing here trains, serves or writes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import stats

from training.evaluate.metrics import expected_calibration_error
from training.evaluate.significance import POWER, Paired, binomial_p_value, detectable_difference, holm
from training.promotion.gate import Evidence, Finding, Gate, ModelPredictions, Outcome, Verdict

SEVERITY: tuple[Outcome, ...] = ("pass", "hold", "reject")
FEWEST_NEWEST = 30  # images, to say anything of whether their labels can be learned

Rule = Callable[[Evidence, Gate], Finding | None]


def judge(evidence: Evidence, gate: Gate) -> tuple[Verdict, list[Finding]]:
    """The verdict, and every rule that had something to say."""
    rules = COMMON + (WITH_CHAMPION if evidence.champion is not None else WITHOUT_CHAMPION)
    if not len(evidence.labels):
        rules = (check_hold_out, check_golden_images, check_size, check_latency)
    findings = [finding for rule in rules if (finding := rule(evidence, gate)) is not None]
    worst = max((finding.outcome for finding in findings), key=SEVERITY.index)
    return ("promote" if worst == "pass" else worst), findings


def reasons(findings: list[Finding], verdict: Verdict) -> str:
    """Why, in a sentence or more."""
    decisive: Outcome = "pass" if verdict == "promote" else verdict
    chosen = [finding.reason for finding in findings if finding.outcome == decisive]
    if verdict == "promote":
        is_better = [f.reason for f in findings if f.rule == "better" and f.figures.get("is_better")]
        chosen = is_better or [f.reason for f in findings if f.rule in ("not worse", "accuracy")]
    return " ".join(chosen)


# Rules; each returns None where it has nothing to judge


def check_hold_out(evidence: Evidence, gate: Gate) -> Finding:
    if evidence.leaked:
        return Finding("hold-out", "reject", f"{evidence.leaked} held-out images were trained on.")
    if not len(evidence.labels):
        return Finding("hold-out", "hold", "There is no held-out image that none of the versions was trained on.")
    if evidence.unknown:
        which = ", ".join(map(str, evidence.unknown))
        reason = f"The training images of version {which}, an ancestor of this one, are not recorded."
        return Finding("hold-out", "hold", reason)
    return Finding("hold-out", "pass", f"None of the {len(evidence.labels)} held-out images was trained on.")


def check_golden_images(evidence: Evidence, gate: Gate) -> Finding:
    if evidence.golden:
        return Finding("golden", "reject", f"In a real service {evidence.golden}.")
    return Finding("golden", "pass", "A real service answers the golden images as the trained network did.")


def check_size(evidence: Evidence, gate: Gate) -> Finding:
    size, limit = evidence.challenger.num_bytes, gate.max_size_bytes or float("inf")
    if evidence.champion is not None and gate.max_size_ratio:
        limit = min(limit, gate.max_size_ratio * evidence.champion.num_bytes)
    return limited("size", "The bundle has", size / 1e6, limit / 1e6, "MB")


def check_latency(evidence: Evidence, gate: Gate) -> Finding:
    """By the lower quartile: what else the machine does lengthens some requests, and never shortens one."""
    quartile, limit = float(np.quantile(evidence.challenger.latencies_ms, 0.25)), gate.max_latency_ms or float("inf")
    if evidence.champion is not None and gate.max_latency_ratio:
        limit = min(limit, gate.max_latency_ratio * float(np.quantile(evidence.champion.latencies_ms, 0.25)))
    return limited("latency", "One image takes", quartile, limit, "ms")


def limited(rule: str, subject: str, value: float, limit: float, unit: str) -> Finding:
    figures = {"value": round(value, 3), "limit": None if limit == float("inf") else round(limit, 3)}
    if value > limit:
        return Finding(rule, "reject", f"{subject} {value:.3g} {unit}, and the limit is {limit:.3g} {unit}.", figures)
    return Finding(rule, "pass", f"{subject} {value:.3g} {unit}.", figures)


def check_classes(evidence: Evidence, gate: Gate) -> Finding:
    assert evidence.champion is not None
    lost = sorted(set(evidence.champion.class_names) - set(evidence.challenger.class_names))
    new = sorted(set(evidence.challenger.class_names) - set(evidence.champion.class_names))
    unseen = [name for name in new if name not in set(evidence.labels.tolist())]
    if lost:
        return Finding("classes", "reject", f"It no longer knows {', '.join(lost[:10])}.", {"lost": lost})
    if unseen:
        reason = f"No image of {', '.join(unseen[:10])} was held out: nobody can tell how well it knows that."
        return Finding("classes", "hold", reason, {"new": new})
    return Finding(
        "classes", "pass", f"It knows every class{', and ' + ', '.join(new[:10]) if new else ''}.", {"new": new}
    )


def check_non_inferiority(evidence: Evidence, gate: Gate) -> Finding:
    """Non-inferiority on the frozen hold-out: the difference's lower bound, of one side, is above the margin."""
    pairs = evidence.paired(~evidence.newest)
    low, _ = pairs.interval(z=float(stats.norm.ppf(1 - gate.alpha)))
    figures = {**figures_of(pairs), "lower_bound": round(low, 5), "margin": gate.margin}
    what = f"On {pairs.num_images} frozen held-out images accuracy changes by {percent(pairs.difference)}"
    if low > -gate.margin:
        return Finding("not worse", "pass", f"{what}, and by no less than {percent(low)}.", figures)
    if pairs.difference < 0 and pairs.p_value() < gate.alpha:
        return Finding("not worse", "reject", f"{what}, which is significant (p = {pairs.p_value():.2g}).", figures)
    return Finding(
        "not worse",
        "hold",
        f"{what}, and may change by {percent(low)}: a loss of more than {gate.margin:.1%} cannot be excluded.",
        figures,
    )


def check_improvement(evidence: Evidence, gate: Gate) -> Finding:
    """McNemar's exact test on the frozen hold-out and on the newest images, corrected for asking twice."""
    slices = {"frozen held-out": ~evidence.newest, "newest": evidence.newest}
    pairs = {name: evidence.paired(rows) for name, rows in slices.items() if rows.any()}
    significant = holm([found.p_value() for found in pairs.values()], gate.alpha)
    better = [name for name, sure in zip(pairs, significant, strict=True) if sure and pairs[name].difference > 0]
    figures = {name: figures_of(found) for name, found in pairs.items()}
    if better:
        gains = (f"{percent(pairs[name].difference)} on {pairs[name].num_images} {name} images" for name in better)
        return Finding("better", "pass", f"It is better: {' and '.join(gains)}.", {**figures, "is_better": True})
    seen = " and ".join(f"{percent(p.difference)} on {p.num_images} {name} images" for name, p in pairs.items())
    smallest = min(detectable_difference(found.num_images, found.disagreement) for found in pairs.values())
    outcome: Outcome = "hold" if gate.promote == "better" else "pass"
    shows = f"so few images reveal a difference below {100 * smallest:.2g} points with a probability below {POWER:.0%}"
    reason = f"It is not shown to be better: {seen}; {shows}."
    return Finding("better", outcome, reason, figures)


def check_newest_labels(evidence: Evidence, gate: Gate) -> Finding | None:
    right = evidence.right(evidence.challenger)
    newest, frozen = right[evidence.newest], right[~evidence.newest]
    if len(newest) < FEWEST_NEWEST or not len(frozen):
        return None
    wanted = gate.newest_share * float(frozen.mean())
    figures = {"accuracy": round(float(newest.mean()), 5), "wanted": round(wanted, 5), "num_images": len(newest)}
    what = f"Of {len(newest)} newest held-out images it gets {newest.mean():.1%} right"
    if binomial_p_value(int(newest.sum()), len(newest), wanted, "less") < gate.alpha:
        reason = f"{what}, and {frozen.mean():.1%} of the others: their labels cannot be learned, and are likely wrong."
        return Finding("newest", "reject", reason, figures)
    return Finding("newest", "pass", f"{what}.", figures)


def check_newest_accuracy(evidence: Evidence, gate: Gate) -> Finding | None:
    if not evidence.newest.any():
        return None
    pairs = evidence.paired(evidence.newest)
    what = f"On {pairs.num_images} newest images accuracy changes by {percent(pairs.difference)}"
    if pairs.difference < -gate.margin and pairs.p_value() < gate.alpha:
        reason = f"{what}, which is significant (p = {pairs.p_value():.2g})."
        return Finding("newest not worse", "reject", reason, figures_of(pairs))
    return Finding("newest not worse", "pass", f"{what}.", figures_of(pairs))


def check_class_recall(evidence: Evidence, gate: Gate) -> Finding:
    """One exact test a class, of one side, corrected by Holm for their number; a drop has to be large as well."""
    classes = list(dict.fromkeys(evidence.labels.tolist()))
    pairs = {name: evidence.paired(evidence.labels == name) for name in classes}
    p_values = [
        binomial_p_value(p.only_challenger, p.only_champion + p.only_challenger, 0.5, "less") for p in pairs.values()
    ]
    sure = holm(p_values, gate.alpha)
    worse = {
        name: round(found.difference, 5)
        for (name, found), significant in zip(pairs.items(), sure, strict=True)
        if significant and found.difference < -gate.class_margin
    }
    if worse:
        drops = ", ".join(f"{name} by {percent(drop)}" for name, drop in list(worse.items())[:10])
        reason = f"Recall changes significantly: {drops}. A person has to decide whether to accept this."
        return Finding("classes' recall", "hold", reason, {"worse": worse})
    return Finding("classes' recall", "pass", "No class's recall drops significantly and by more than the margin.")


def check_floors(evidence: Evidence, gate: Gate) -> Finding | None:
    right = evidence.right(evidence.challenger)
    floor = gate.min_recall or (0.0 if evidence.champion is not None else 1 / len(evidence.challenger.class_names))
    too_low = sorted(classes_below(evidence.labels, right, floor, gate.alpha))
    if too_low:
        reason = f"Recall of {', '.join(too_low[:10])} is below the floor of {floor:.1%}."
        return Finding("floors", "reject", reason, {"classes": too_low, "floor": floor})
    if gate.min_accuracy and float(right.mean()) < gate.min_accuracy:
        reason = f"Accuracy is {right.mean():.1%}, below the floor of {gate.min_accuracy:.1%}."
        return Finding("floors", "reject", reason)
    return Finding("floors", "pass", f"No class has a recall below the floor of {floor:.1%}.", {"floor": floor})


def classes_below(labels: np.ndarray, right: np.ndarray, floor: float, alpha: float) -> Iterator[str]:
    classes = list(dict.fromkeys(labels.tolist()))
    counts = [right[labels == name] for name in classes]
    significant = holm(
        [binomial_p_value(int(found.sum()), len(found), floor, "less") if floor else 1.0 for found in counts], alpha
    )
    yield from (name for name, sure in zip(classes, significant, strict=True) if sure)


def check_calibration(evidence: Evidence, gate: Gate) -> Finding:
    assert evidence.champion is not None
    ours, theirs = calibration(evidence, evidence.challenger), calibration(evidence, evidence.champion)
    figures = {"challenger": round(ours, 5), "champion": round(theirs, 5)}
    what = f"The calibration error is {ours:.3f}, the champion's {theirs:.3f}"
    if ours > theirs + gate.calibration_margin:
        return Finding("calibration", "hold", f"{what}: more than {gate.calibration_margin:g} worse.", figures)
    return Finding("calibration", "pass", f"{what}.", figures)


def calibration(evidence: Evidence, answered: ModelPredictions) -> float:
    places = {name: i for i, name in enumerate(answered.class_names)}
    known = np.array([label in places for label in evidence.labels])
    labels = np.array([places[label] for label in evidence.labels[known]], np.int64)
    return expected_calibration_error(answered.probabilities[known], labels) if len(labels) else 0.0


def check_majority_baseline(evidence: Evidence, gate: Gate) -> Finding:
    """Without a champion: significantly better than always saying what is most frequent."""
    right = evidence.right(evidence.challenger)
    names, counts = np.unique(evidence.labels.astype(str), return_counts=True)
    share, name = float(counts.max() / counts.sum()), str(names[counts.argmax()])
    p_value = binomial_p_value(int(right.sum()), len(right), share, "greater")
    figures = {"accuracy": round(float(right.mean()), 5), "largest_class": round(share, 5), "p": p_value}
    what = (
        f"Of {len(right)} held-out images it gets {right.mean():.1%} right; always answering {name} would get "
        f"{share:.1%} right"
    )
    if p_value < gate.alpha:
        return Finding("accuracy", "pass", f"{what}. Nothing was live to compare with.", figures)
    return Finding("accuracy", "reject", f"{what}, which is not significantly less.", figures)


COMMON: tuple[Rule, ...] = (check_hold_out, check_golden_images, check_size, check_latency, check_floors)
WITH_CHAMPION: tuple[Rule, ...] = (
    check_classes,
    check_non_inferiority,
    check_newest_labels,
    check_newest_accuracy,
    check_class_recall,
    check_calibration,
    check_improvement,
)
WITHOUT_CHAMPION: tuple[Rule, ...] = (check_majority_baseline,)


def figures_of(pairs: Paired) -> dict[str, Any]:
    return {
        **pairs._asdict(),
        "difference": round(pairs.difference, 5),
        "interval": [round(bound, 5) for bound in pairs.interval()],
        "p": float(f"{pairs.p_value():.3g}"),
    }


def percent(difference: float) -> str:
    return f"{100 * difference:+.2f} points"
