"""Charts of the report, as SVG that follows the page's colours: axes, ticks, a grid, and values under the pointer."""

import math
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 56, 20, 28, 40  # room for ticks, legend and the horizontal axis' name
WIDTH, HEIGHT = 460, 260  # of a plot of curves
SIDE = 340  # of the reliability diagram
SHARE_TICKS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
MOST_TICKS = 6
LETTER = 7  # width, about
MOST_POINTS = 60  # that have a value under the pointer, of each curve
TEXT = "</text>"


def plot(title: str, curves: dict[str, list[float]], *, along: str = "epoch") -> str:
    """Curves: {name: one value per epoch}; the last one stands out.

    Args:
        along: name of the horizontal axis, which counts from 1.
    """
    values = [value for curve in curves.values() for value in curve if math.isfinite(value)] or [0.0]
    ticks = ticks_of(min(values), max(values))
    longest = max(map(len, curves.values()))
    area = Area(WIDTH, HEIGHT, (1, max(longest, 2)), (ticks[0], ticks[-1]))
    numbers = sorted({round(tick) for tick in ticks_of(1, longest) if 1 <= tick <= longest} | {1})
    inner = area.grid([(number, str(number)) for number in numbers], [(tick, f"{tick:.4g}") for tick in ticks], along)
    at = LEFT + 5
    for i, (name, curve) in enumerate(curves.items()):
        kind = f"c{len(curves) - 1 - i}"
        inner += curve_of(area, curve, kind, name, along)
        if len(curves) > 1:
            inner += f'<text x="{at}" y="16" class="{kind}">{escape(name)}{TEXT}'
            at += 20 + LETTER * len(name)
    return figure(title, area.svg(title, inner))


class Area:
    """The part of a drawing in which values lie.

    Args:
        width, height: of the whole drawing.
        horizontal, vertical: the lowest and the highest value.
    """

    def __init__(self, width: int, height: int, horizontal: tuple[float, float], vertical: tuple[float, float]) -> None:
        self.width, self.height = width, height
        self._horizontal, self._vertical = horizontal, vertical

    def x(self, value: float) -> float:
        low, high = self._horizontal
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self._vertical
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def grid(self, across: list[tuple[float, str]], up: list[tuple[float, str]], along: str, upward: str = "") -> str:
        """Lines at ticks with their texts, and the axes' names."""
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        lines = "".join(
            f'<line x1="{LEFT}" x2="{right}" y1="{self.y(value):.1f}" y2="{self.y(value):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{self.y(value) + 4:.1f}" text-anchor="end">{text}{TEXT}'
            for value, text in up
        )
        lines += "".join(
            f'<line x1="{self.x(value):.1f}" x2="{self.x(value):.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
            f'<text x="{self.x(value):.1f}" y="{bottom + 17}" text-anchor="middle">{text}{TEXT}'
            for value, text in across
        )
        names = f'<text x="{(LEFT + right) / 2}" y="{self.height - 5}" text-anchor="middle">{escape(along)}{TEXT}'
        names += f'<text x="4" y="16">{escape(upward)}{TEXT}' if upward else ""
        return f'<g class="grid">{lines}</g>{names}'

    def svg(self, title: str, inner: str, kind: str = "") -> str:
        size = f'viewBox="0 0 {self.width} {self.height}" font-size="12"'
        return f'<svg {size} class="{kind}" role="img" aria-label="{escape(title)}">{inner}</svg>'


def curve_of(area: Area, curve: list[float], kind: str, name: str, along: str) -> str:
    points = [(i + 1, value) for i, value in enumerate(curve) if math.isfinite(value)]
    text = " ".join(f"{area.x(i):.1f},{area.y(value):.1f}" for i, value in points)
    line = f'<polyline points="{text}" class="{kind}"/>' if len(points) > 1 else ""
    shown = points[:: -(-len(points) // MOST_POINTS)] if points else []
    look = f'r="3" class="{kind}"' if len(points) == 1 else f'r="6" class="{kind} hidden"'
    dots = "".join(
        f'<circle cx="{area.x(i):.1f}" cy="{area.y(value):.1f}" {look}>'
        f"<title>{escape(name)}, {escape(along)} {i}: {value:.4g}</title></circle>"
        for i, value in shown
    )
    return line + dots


def ticks_of(low: float, high: float) -> list[float]:
    """Round numbers in equal steps, around all values."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def figure(title: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"


def drawing(title: str, curves: dict[str, list[float]], along: str) -> str:
    """A plot as a file of its own, with its title above it."""
    shown = plot(title, curves, along=along)
    _, _, inner = shown[shown.index("<svg") :].removesuffix("</figure>").partition(">")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -{TOP} {WIDTH} {HEIGHT + TOP}" font-size="12">'
        "<style>text{font-family:sans-serif}polyline{fill:none;stroke:#0b6bcb;stroke-width:2}polyline.c1{stroke:#9aa5b1}"
        "text.c0{fill:#0b6bcb}text.c1{fill:#5f6b77}line{stroke:#ddd}.hidden{opacity:0}</style>"
        f'<rect y="-{TOP}" width="{WIDTH}" height="{HEIGHT + TOP}" fill="#fff"/>'
        f'<text x="4" y="-8">{escape(title)}{TEXT}{inner}\n'
    )


def reliability(bins: list[tuple[float, float, int]]) -> str:
    """How often answers of a confidence are right: on the diagonal where confidence can be believed.

    Args:
        bins: as `training.evaluate.metrics.calibration_bins` gives them.
    """
    area = Area(SIDE, SIDE, (0, 1), (0, 1))
    shares = [(tick, f"{tick:.0%}") for tick in SHARE_TICKS]
    inner = area.grid(shares, shares, "confidence", "accuracy")
    diagonal = f"{area.x(0)},{area.y(0)} {area.x(1)},{area.y(1)}"
    inner += f'<polyline points="{diagonal}" class="c1"/>'
    total = sum(count for _, _, count in bins)
    for confidence, accuracy, count in bins:
        x, y, radius = area.x(confidence), area.y(accuracy), 3 + 12 * (count / total) ** 0.5
        said = f"{count} images: confidence {confidence:.3f}, accuracy {accuracy:.3f}"
        inner += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="c0"><title>{said}</title></circle>'
        inner += f'<text x="{x:.1f}" y="{y - radius - 3:.1f}" text-anchor="middle">{count}{TEXT}'
    return area.svg("reliability: accuracy over confidence", inner, "square")


def interval(value: float, low: float, high: float) -> str:
    """A share from 0 to 1 as a bar, with its interval of 95 % as a line."""
    said = f"{value:.1%}, from {low:.1%} to {high:.1%}"
    return (
        f'<svg viewBox="0 0 100 12" class="bar" role="img" aria-label="{said}"><title>{said}</title>'
        '<rect x="0" y="3" width="100" height="6" class="track"/>'
        f'<rect x="0" y="3" width="{100 * value:.1f}" height="6" class="c0"/>'
        f'<line x1="{100 * low:.1f}" x2="{100 * high:.1f}" y1="6" y2="6"/></svg>'
    )
