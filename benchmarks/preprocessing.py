"""Is the scaling found that somebody's network was trained with? `python -m benchmarks.preprocessing FOLDER`

A pretrained network gets a head for the classes of FOLDER, and then disguises: one for each scaling that
`import --images` tries, so that it takes pixels that were scaled so. Labelled images that it has not learnt from are
drawn, and with them the scalings are ranked as the command ranks them, for each disguise and each draw. A scaling is
right if it is the disguise's, or gives the same first class on nearly all images.

Disguise and scaling make together one affine map of the pixels, perhaps with the channels in the other order. The
network answers all images once for each map; a draw takes its images' answers.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

import click
import numpy as np

from benchmarks.processes import circumstances
from benchmarks.transfer import draw, fitted
from models.process.quiet import import_quietly
from training.preprocessing.ranking import SAME, Ranking, rank
from training.preprocessing.scalings import PIXEL_SCALINGS, contrast_of

PROBE = np.array([[0, 0, 0], [50, 100, 250]], np.float32)  # two colours, which tell maps apart
KINDS = ("right", "right, but asked", "wrong, but asked", "wrong")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--network", default="efficientnet_lite0", show_default=True)
@click.option("--per-class", default=60, show_default=True, help="Images of each class that the head learns from.")
@click.option("--asked", default=280, show_default=True, help="Most images that are drawn from.")
@click.option("--images", default=40, show_default=True, help="Images in a draw.")
@click.option("--draws", default=50, show_default=True, help="For each disguise.")
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, network: str, per_class: int, asked: int, images: int, draws: int, seed: int) -> None:
    """Disguise a network by each scaling, and count how often labelled images of FOLDER tell which it was."""
    import_quietly("keras")
    answers, labels, accuracy = answers_of_disguises(folder, network, per_class, asked, seed)
    rng = np.random.default_rng(seed)
    rows = {}
    for true, logits in answers.items():
        found: Counter[str] = Counter()
        for _ in range(draws):
            drawn = rng.choice(len(labels), min(images, len(labels)), replace=False)
            ranking = rank({name: each[drawn] for name, each in logits.items()}, labels[drawn], contrast_of)
            found[kind(ranking, logits, true)] += 1
        rows[true] = {name: found[name] for name in KINDS}
        click.echo(f"{true}: {rows[true]}", err=True)
    sums = {name: sum(row[name] for row in rows.values()) for name in KINDS}
    about = {"folder": folder.name, "network": network, "accuracy": round(accuracy, 4), "images": images}
    click.echo(json.dumps({**about, "asked": len(labels), "all": sums, "disguises": rows, **circumstances()}))


def kind(ranking: Ranking, logits: dict[str, np.ndarray], true: str) -> str:
    """One of KINDS."""
    classes = {name: each.argmax(axis=1) for name, each in logits.items()}
    right = (classes[ranking.best.name] == classes[true]).mean() >= SAME
    if right:
        return "right" if ranking.sure else "right, but asked"
    return "wrong" if ranking.sure else "wrong, but asked"


def answers_of_disguises(
    folder: Path, network: str, per_class: int, asked: int, seed: int
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray, float]:
    """{disguise: {scaling: logits float32 (N, num_classes)}}, labels (N,), and the accuracy without a disguise."""
    import keras

    from training.fit.frozen import Frozen

    with tempfile.TemporaryDirectory() as drawn:
        draw(folder, Path(drawn), per_class, asked, seed)
        trained, data = fitted("head", Path(drawn), network, seed)
    rescale = trained.model.get_layer("rescale")
    after = Frozen(keras.Model(rescale.output, trained.model.output))
    pixels = np.asarray(data.decoded.images[data.split.test], np.float32)
    labels = np.asarray(data.decoded.labels[data.split.test])
    computed: dict[bytes, np.ndarray] = {}

    def answers(true: str, tried: str) -> np.ndarray:
        key = undone(true, PIXEL_SCALINGS[tried](PROBE)).round(2).tobytes()  # maps that are equal but for rounding
        if key not in computed:
            given = undone(true, PIXEL_SCALINGS[tried](pixels))
            scaled = given * np.asarray(rescale.scale, np.float32) + np.asarray(rescale.offset, np.float32)
            (computed[key],) = after.of_all(scaled, np.arange(len(scaled)))
        return computed[key]

    found = {true: {tried: answers(true, tried) for tried in PIXEL_SCALINGS} for true in PIXEL_SCALINGS}
    plain = found["none"]["none"]
    return found, labels, float((plain.argmax(axis=1) == labels).mean())


def undone(name: str, scaled: np.ndarray) -> np.ndarray:
    """What `PIXEL_SCALINGS[name]` would have made these numbers of, float32 (..., 3)."""
    scaling = PIXEL_SCALINGS[name]
    plain = scaled[..., ::-1] if scaling.blue_first else scaled
    pixels: np.ndarray = (plain - np.asarray(scaling.offset, np.float32)) / np.asarray(scaling.scale, np.float32)
    return pixels


if __name__ == "__main__":
    main()
