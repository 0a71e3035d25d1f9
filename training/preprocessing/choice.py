"""The preprocessing that is taken: as asked, as measured on labelled images, or as the model tells; else a question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.bundle.preprocessing import Resize
from models.errors import UserError
from training.preprocessing.outputs import OutputFacts, logits_of
from training.preprocessing.ranking import Ranking, rank
from training.preprocessing.scalings import USUAL, contrast_of, scalings_for

NO_BETTER = "None is better than chance: are the classes those of the model, and in its order (--labels FILE)? "


class Unsure(UserError):
    """Which preprocessing is right cannot be told; the message says what to ask for."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """
    Attributes:
        reason: how it was chosen, a sentence.
        table: lines that show what was tried, the best first.
        key: under which its answers to the images are.
    """

    scaling: str
    resize: Resize
    reason: str
    table: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.scaling} {self.resize}"


def choose(
    answers: Mapping[str, np.ndarray],
    labels: np.ndarray,
    about: OutputFacts,
    *,
    scaling: str | None,
    resize: Resize | None,
    command: str,
) -> Preprocessing:
    """By answers to labelled images.

    Args:
        answers: the model's outputs (N, K), by "scaling resize".
        labels: int64 (N,).
        scaling, resize: what was asked for.
        command: what was typed, for the question.

    Raises:
        Unsure: the images do not tell which scaling it was.
    """
    logits = {key: logits_of(output, about) for key, output in answers.items()}
    first = next(iter(answers)).split()[1]
    ranking = rank({key: each for key, each in logits.items() if key.split()[1] == first}, labels, contrast_of)
    scaling_key = ranking.best.name
    table = [line(candidate.name, candidate, len(labels)) for candidate in ranking.candidates]
    if scaling is None and len(ranking.candidates) > 1 and not ranking.sure:
        raise Unsure(question(ranking, table, command))
    resized = {key: each for key, each in logits.items() if key.split()[0] == scaling_key.split()[0]}
    by_resize = rank(resized, labels, contrast_of)
    best_scaling, best_resize = by_resize.best.name.split()
    table += [line(each.name, each, len(labels)) for each in by_resize.candidates if each.name != scaling_key]
    how = "asked for" if scaling else f"the best of {len(ranking.candidates)} on {len(labels)} labelled images"
    settled = "asked for" if resize else "the best" if by_resize.sure else "the best, though not by more than chance"
    reason = f"scaling {best_scaling}: {how}; {best_resize}: {settled}; {by_resize.best.accuracy:.1%} of them right"
    return Preprocessing(best_scaling, best_resize, reason, tuple(table))  # type: ignore[arg-type] # a key of RESIZES


def line(key: str, candidate: Any, num_images: int) -> str:
    """signed, squash: 91.0 % of 40 images, log loss 0.31"""
    scaling, resize = key.split()
    same = ", answers like the best" if candidate.same and candidate.distance > 0 else ""
    return f"{scaling}, {resize}: {candidate.accuracy:.1%} of {num_images} images, log loss {candidate.loss:.2f}{same}"


def question(ranking: Ranking, table: list[str], command: str) -> str:
    """What a person must decide, with the command for each answer."""
    near = [each for each in ranking.candidates if each is ranking.best or not each.same][:3]
    commands = "\n".join(f"  {command} --scaling {each.name.split()[0]}" for each in near)
    chance = "" if ranking.better_than_chance else NO_BETTER
    return (
        f"{ranking.num_images} labelled images do not tell which scaling the model was trained with:\n"
        + "\n".join(f"  {each}" for each in table[:6])
        + f"\n{chance}Give more images, or say which it was:\n{commands}"
    )


def without_images(
    hint: tuple[str, str] | None,
    encoded: bool,
    channels: int,
    *,
    scaling: str | None,
    resize: Resize | None,
    command: str,
) -> Preprocessing:
    """By what the model tells.

    Args:
        hint: the scaling that it tells, and how.
        encoded: it takes encoded images.

    Raises:
        Unsure: it tells nothing.
    """
    size = resize or "squash"
    if encoded:
        return Preprocessing("none", size, "the model takes encoded images and scales them itself")
    if scaling:
        return Preprocessing(scaling, size, f"scaling {scaling}: asked for")
    if hint is None:
        raise Unsure(
            "The model does not say how its images were scaled, and with the wrong scaling it answers confidently and "
            "wrongly. Give labelled images, a handful of each class, and it is found:\n"
            f"  {command} --images FOLDER\nor say what its training did:\n"
            + "\n".join(f"  {command} --scaling {name}" for name in USUAL if name in scalings_for(channels))
        )
    return Preprocessing(hint[0], size, f"scaling {hint[0]}: {hint[1]}")
