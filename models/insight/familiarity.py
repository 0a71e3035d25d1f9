"""How usual an image is for a model: what `out_of_distribution` in an answer says.

Three things are compared with those of held-out images, which the model was not trained on:

- doubt: the entropy of the answer;
- remoteness: how far the image is, in the network's features, from the nearest of up to 1,000 training images (Sun et
  al., 2022, https://arxiv.org/abs/2204.06507, find the k-th nearest; k is 1 here);
- oddness: how far brightness, contrast, colour and sharpness are from those of the training images, as a Mahalanobis
  distance.

Each becomes a surprise, which is minus the logarithm of the share of held-out images with as high a value. Doubt and
remoteness add up. Oddness counts only where fewer than one held-out image in 20 is as odd: it tells drawings, noise and
empty pictures, and nothing of what is to be seen. docs/understand/benchmarks.md has the measurement.

FAMILIARITY is `numpy.savez` of the arrays of `Familiarity`.
"""

import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from models.bundle.manifest import BrokenBundle

FAMILIARITY = Path("assets.extra/familiarity.npz")
MOST_KNOWN = 1000  # training images whose features are kept
UNUSUAL = 0.95  # an answer is marked above this share of more usual held-out images: 5 % false alarms
LEVELS = np.linspace(0, 1, 101)
FAR = 1000.0  # surprise at which tables end
TAIL = 90  # the level from which on the shares of held-out images are taken to fall exponentially
OFTEN = float(np.log(20))  # surprise from which on oddness counts: of one held-out image in 20
LEAST_SPREAD = 0.2  # of a feature, as a share of the features' mean: one that hardly varies would count too much
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model has seen of N images.

    Attributes:
        figures: float64 (N, 6), `models.bundle.reference.figures`.
        probabilities: (N, num_classes).
        features: float32 (N, F); None where they cannot be had.
    """

    figures: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray | None


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """
    Attributes:
        mean, precision: of the training images' figures, (6,) and inverse covariance (6, 6).
        centre, scale: float32 (F,): features less centre, divided by scale, and then by their length, are compared.
        known: (M, F), of training images, of length 1; M is 0 where the network has no features.
        doubts, remotenesses, oddnesses: of the held-out images, as `surprises_of` gives them, (2, 92).
        surprises: quantiles of the held-out images' sum of surprises, at LEVELS.
        surprises_without: of the sum without remoteness, for engines that compute no features.
    """

    mean: np.ndarray
    precision: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    known: np.ndarray
    doubts: np.ndarray
    remotenesses: np.ndarray
    oddnesses: np.ndarray
    surprises: np.ndarray
    surprises_without: np.ndarray

    def rank(self, seen: Seen) -> np.ndarray:
        """The share of held-out images that are more usual than each image, float64 (N,)."""
        features = seen.features if len(self.known) else None
        expected = self.surprises_without if features is None else self.surprises
        below = np.nextafter(self.surprise(seen, features), -np.inf)  # images that are as unusual do not count
        return np.interp(below, expected, LEVELS)

    def remoteness(self, features: np.ndarray) -> np.ndarray:
        """1 less the cosine to the most similar training image, float32 (N,), of features (N, F)."""
        similarities: np.ndarray = np.maximum.reduce(self.normal(features) @ self.known.T, axis=1)
        return 1 - similarities

    def normal(self, features: np.ndarray) -> np.ndarray:
        """Features (N, F) as they are compared: of length 1."""
        return of_length_1((features - self.centre) / self.scale)

    def write(self, bundle: Path) -> None:
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(bundle / FAMILIARITY, **{**arrays, "known": self.known.astype(np.float16)})

    def surprise(self, seen: Seen, features: np.ndarray | None) -> np.ndarray:
        """The sum of the surprises, float64 (N,); without remoteness where there are no features."""
        total = np.interp(entropy(seen.probabilities), *self.doubts)
        odd = np.interp(mahalanobis(seen.figures, self.mean, self.precision), *self.oddnesses)
        total += np.maximum(0, odd - OFTEN)
        if features is not None:
            total += np.interp(self.remoteness(features), *self.remotenesses)
        return total


def learn(training: Seen, held_out: Seen, *, are_drawn: bool = False) -> Familiarity:
    """From training images, two or more, and images that the model was not trained on, the more the better.

    Both have features, or neither has.

    Args:
        are_drawn: oddness does not count, since strokes may be of any width and strength.
    """
    mean = training.figures.mean(axis=0)
    spread = np.cov(training.figures, rowvar=False) + 1e-6 * np.eye(len(mean))  # all images may have one figure
    nothing = np.zeros(len(LEVELS))
    features = training.features
    centre, scale, known = np.zeros(0, np.float32), np.ones(0, np.float32), np.zeros((0, 0), np.float32)
    if features is not None:
        centre, scale = features.mean(axis=0), features.std(axis=0)
        scale = scale + LEAST_SPREAD * scale.mean() + TINY
        known = of_length_1((features - centre) / scale)[:MOST_KNOWN]
    precision = np.linalg.inv(spread)
    odd = surprises_of(mahalanobis(held_out.figures, mean, precision))
    found = Familiarity(
        mean=mean,
        precision=precision,
        centre=centre,
        scale=scale,
        known=known.astype(np.float16).astype(np.float32),  # as it will be read
        doubts=surprises_of(entropy(held_out.probabilities)),
        remotenesses=nothing,
        oddnesses=odd * [[1], [0 if are_drawn else 1]],
        surprises=nothing,
        surprises_without=nothing,
    )
    if held_out.features is not None:
        found = replace(found, remotenesses=surprises_of(found.remoteness(held_out.features)))
        found = replace(found, surprises=quantiles(found.surprise(held_out, held_out.features)))
    return replace(found, surprises_without=quantiles(found.surprise(held_out, None)))


def read(bundle: Path) -> Familiarity | None:
    """None of a bundle that has none.

    Raises:
        BrokenBundle: the file is damaged.
    """
    try:
        with (bundle / FAMILIARITY).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {field.name: file[field.name] for field in fields(Familiarity)}
        check_shapes(**{name: array.shape for name, array in arrays.items()})
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise BrokenBundle(f"{bundle / FAMILIARITY} is damaged ({error}); export again.") from None
    return Familiarity(**{**arrays, "known": arrays["known"].astype(np.float32)})


def check_shapes(
    centre: tuple[int, ...], scale: tuple[int, ...], known: tuple[int, ...], **others: tuple[int, ...]
) -> None:
    """
    Raises:
        ValueError: arrays do not fit together.
    """
    table, levels = (2, TAIL + 2), (len(LEVELS),)
    expected = {"mean": (6,), "precision": (6, 6), "doubts": table, "oddnesses": table, "surprises_without": levels}
    expected |= {"remotenesses": table, "surprises": levels} if known[0] else {}
    wrong = [name for name, shape in expected.items() if others[name] != shape]
    if len(known) != 2 or (known[0] and not known[1:] == centre == scale) or wrong:
        raise ValueError("shapes of its arrays do not fit together")


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Of each answer, float64 (N,), in nats.

    The probability of the first class is taken from the others', since it may be too close to 1 to be resolved.
    """
    others = probabilities.astype(np.float64)
    others[np.arange(len(others)), others.argmax(axis=1)] = 0
    rest = np.minimum(np.add.reduce(others, axis=1), 1 - TINY)
    of_others = np.add.reduce(others * np.log(others + TINY**2), axis=1)
    return -of_others - (1 - rest) * np.log1p(-rest)


def mahalanobis(points: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(N, D) -> (N,): distances in standard deviations."""
    away = points - mean
    squares: np.ndarray = np.add.reduce(away @ precision * away, axis=1)
    return np.sqrt(np.maximum(squares, 0))


def surprises_of(values: np.ndarray) -> np.ndarray:
    """From held-out images' values a table (2, 92): ascending values, and the surprise of each.

    The surprise of a value is minus the logarithm of the share of held-out images with as high a one. Above the level
    TAIL that share is taken to fall exponentially, as fast as that of the images which are there.
    """
    expected = quantiles(values)
    start, beyond = expected[TAIL], max(float(expected[TAIL:].mean() - expected[TAIL]), TINY)
    usual = -np.log(1 - LEVELS[: TAIL + 1])
    return np.array([[*expected[: TAIL + 1], start + FAR * beyond], [*usual, usual[-1] + FAR]])


def quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, LEVELS)


def of_length_1(rows: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.add.reduce(rows * rows, axis=1, keepdims=True))
    normal: np.ndarray = rows / np.maximum(lengths, TINY)
    return normal
