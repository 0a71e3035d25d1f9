"""How often the gate is wrong: `python -m benchmarks.gate`.

A/A: two equally good models, so many times: in how many does it say "better", and what does it decide? Then a planted
drop: in how many is the worse model rejected? Answers are drawn anew each time, with as many disagreements between
the two as two trainings of one network have; half of the A/A runs have a newest slice, which is asked about as well.
"""

import json

import click
import numpy as np

from benchmarks.processes import circumstances
from training.promotion.gate import Evidence, Gate, ModelPredictions
from training.promotion.rules import judge

CLASSES = tuple(f"class {i}" for i in range(10))
ACCURACY = 0.9


@click.command()
@click.option("--resamples", default=1_000, show_default=True)
@click.option("--images", default=10_000, show_default=True)
@click.option("--discordant", default=0.08, show_default=True, help="Share of images on which one of the two is right.")
@click.option("--drop", default=0.02, show_default=True)
def main(resamples: int, images: int, discordant: float, drop: float) -> None:
    """Print a table and one line of JSON."""
    rng = np.random.default_rng(0)
    gate = Gate()
    found = {}
    for name, size, loss in (
        ("A/A", images, 0.0),
        ("A/A, few images", images // 10, 0.0),
        (f"{drop:.1%} worse", images, drop),
        (f"{drop:.1%} better", images, -drop),
    ):
        verdicts = {"promote": 0, "hold": 0, "reject": 0}
        better = 0
        for i in range(resamples):
            verdict, findings = judge(draw(rng, size, discordant, loss, with_newest=bool(i % 2)), gate)
            verdicts[verdict] += 1
            better += next(finding for finding in findings if finding.rule == "better").outcome == "pass"
        found[name] = {"images": size, **verdicts, "better": better}
        shares = "  ".join(f"{what} {count / resamples:6.1%}" for what, count in verdicts.items())
        print(f"{name:<18} {size:>7,} images  {shares}  said better {better / resamples:6.1%}", flush=True)
    print(json.dumps({"benchmark": "gate", **circumstances(), "resamples": resamples, "alpha": gate.alpha, **found}))


def draw(rng: np.random.Generator, count: int, discordant: float, loss: float, *, with_newest: bool) -> Evidence:
    """Two models, of which the challenger is worse by `loss` in truth."""
    labels = rng.integers(0, len(CLASSES), count)
    lots = rng.random(count)
    only_champion = lots < (discordant + loss) / 2
    only_challenger = ~only_champion & (lots < discordant)
    both = ~(only_champion | only_challenger) & (rng.random(count) < ACCURACY)
    newest = np.arange(count) >= count * 0.8 if with_newest else np.zeros(count, bool)
    return Evidence(
        labels=np.array(CLASSES, object)[labels],
        newest=newest,
        challenger=answered(rng, labels, both | only_challenger),
        champion=answered(rng, labels, both | only_champion),
    )


def answered(rng: np.random.Generator, labels: np.ndarray, right: np.ndarray) -> ModelPredictions:
    said = np.where(right, labels, (labels + rng.integers(1, len(CLASSES), len(labels))) % len(CLASSES))
    probabilities = np.full((len(labels), len(CLASSES)), (1 - ACCURACY) / (len(CLASSES) - 1))
    probabilities[np.arange(len(labels)), said] = ACCURACY
    return ModelPredictions(CLASSES, probabilities, [10.0] * 10, 1_000_000)


if __name__ == "__main__":
    main()
