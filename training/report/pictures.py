"""Pictures of a report: mistakes with where the network looked and what they resemble, and likely label errors."""

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image

PICTURE_SIDE, SIMILAR_SIDE = 128, 64  # pixels at most
DRAWN = 48  # pixels; smaller pictures keep every pixel, larger ones are photographs
QUALITY = 85  # of JPEGs


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a report.

    Attributes:
        pixels: uint8 (H, W, C).
        caption: what is to be said about it.
        classes: of a mistake, the true and the predicted class.
        looked: where the network looked for the predicted class, uint8 (h, w, 3); None where that is not known.
        similar: training images that the network finds most similar, (pixels, label) of each.
    """

    pixels: np.ndarray
    caption: str
    classes: tuple[str, str] | None = None
    looked: np.ndarray | None = None
    similar: tuple[tuple[np.ndarray, str], ...] = ()


def confused_pictures(mistakes: list[Picture]) -> str:
    """Mistakes by their true and their predicted class, those pairs first that have most."""
    pairs: dict[Any, list[Picture]] = {}
    for picture in mistakes:
        pairs.setdefault(picture.classes, []).append(picture)
    sections = []
    for classes, some in sorted(pairs.items(), key=lambda each: -len(each[1])):
        if classes is None:
            sections.append(figures_of(some))
        else:
            title = escape(printable("{} taken for {}".format(*classes)))
            sections.append(f'<h3 id="{anchor(*classes)}">{title}</h3>{figures_of(some)}')
    return f"<h2>Its most confident mistakes</h2>{legend(mistakes)}{''.join(sections)}"


def legend(mistakes: list[Picture]) -> str:
    """What is beside the pictures."""
    said = []
    if any(picture.looked is not None for picture in mistakes):
        said.append("Beside an image: where the network looked for the class that it named. Bright speaks for it.")
    if any(picture.similar for picture in mistakes):
        said.append("Below it: the training images that are nearest in the network's last features.")
    return f"<p>{' '.join(said)}</p>" if said else ""


def anchor(label: str, predicted: str) -> str:
    """Of the mistakes that took the one class for the other; letters and digits alone."""
    return f"m{label.encode().hex()}-{predicted.encode().hex()}"


def gallery(title: str, shown_pictures: list[Picture], text: str = "") -> str:
    return f"<h2>{escape(title)}</h2>{f'<p>{escape(text)}</p>' if text else ''}{figures_of(shown_pictures)}"


def figures_of(shown_pictures: list[Picture]) -> str:
    return f'<div class="pictures">{"".join(map(figure_of, shown_pictures))}</div>'


def figure_of(picture: Picture) -> str:
    image, caption = embedded(picture.pixels), f"<figcaption>{escape(printable(picture.caption))}</figcaption>"
    if picture.looked is None and not picture.similar:
        return f"<figure>{image}{caption}</figure>"
    looked = "" if picture.looked is None else embedded(picture.looked, text="where the network looked")
    similar = "".join(
        f"<span>{embedded(pixels, SIMILAR_SIDE)} {escape(printable(label))}</span>" for pixels, label in picture.similar
    )
    below = f'<div class="similar"><p>Most similar in training</p>{similar}</div>' if similar else ""
    return f'<figure class="mistake"><div class="pair">{image}{looked}</div>{caption}{below}</figure>'


def embedded(pixels: np.ndarray, side: int = PICTURE_SIDE, text: str = "") -> str:
    return f'<img alt="{text}" src="{data_uri(pixels, side)}">'


def data_uri(pixels: np.ndarray, side: int = PICTURE_SIDE, *, is_drawn: bool = False) -> str:
    """uint8 (H, W, C) inside the page, made smaller where it is larger than `side`; as PNG or JPEG."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((side, side))
    file, kind = io.BytesIO(), "PNG" if is_drawn or max(image.size) <= DRAWN else "JPEG"
    image.save(file, kind, quality=QUALITY)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def printable(text: str) -> str:
    """Line breaks and undecodable bytes of file names as `\\n` and `\\udcff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
