"""Drawings for the report, as SVG that follows the page's colours."""

from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 700, 200, 55, 20, 5  # of a plot; room for figures and legend
SIDE, MARGIN = 300, 20  # of the reliability diagram


def plot(title: str, curves: dict[str, list[float]]) -> str:
    """Curves over the epochs: {name: one value per epoch}; the last one stands out."""
    values = [value for curve in curves.values() for value in curve]
    low, high = min(values), max(values)
    lines = "".join(polyline(curve, low, high, f"c{len(curves) - 1 - i}") for i, curve in enumerate(curves.values()))
    legend = "".join(
        f'<text x="{LEFT + 5 + 90 * i}" y="12" class="c{len(curves) - 1 - i}">{escape(name)}</text>'
        for i, name in enumerate(curves)
        if len(curves) > 1
    )
    ends = f'<text x="0" y="12">{high:.4g}</text><text x="0" y="{HEIGHT - 2}">{low:.4g}</text>'
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" role="img" aria-label="{escape(title)}">'
        f"{ends}{legend}{lines}</svg></figure>"
    )


def drawing(title: str, curves: dict[str, list[float]], low: str, high: str) -> str:
    """A plot as a file of its own, with names for both ends of its horizontal axis."""
    inner = plot(title, curves).removeprefix("<figure>").removesuffix("</figure>")
    lines = inner[inner.index("<svg") :].split(">", 1)[1].removesuffix("</svg>")
    below = HEIGHT + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -30 {WIDTH + 20} {below + 45}" font-size="12" '
        'font-family="sans-serif"><style>polyline { fill: none; stroke: #0b6bcb; stroke-width: 2 }</style>'
        f'<rect x="-10" y="-30" width="100%" height="100%" fill="#fff"/><text y="-10">{escape(title)}</text>{lines}'
        f'<text x="{LEFT}" y="{below}">{escape(low)}</text>'
        f'<text x="{WIDTH}" y="{below}" text-anchor="end">{escape(high)}</text></svg>\n'
    )


def polyline(curve: list[float], low: float, high: float, kind: str) -> str:
    step, scale = (WIDTH - LEFT - 5) / max(1, len(curve) - 1), (HEIGHT - TOP - BOTTOM) / ((high - low) or 1.0)
    points = [(LEFT + i * step, HEIGHT - BOTTOM - (value - low) * scale) for i, value in enumerate(curve)]
    if len(points) == 1:
        return f'<circle cx="{points[0][0]}" cy="{points[0][1]}" r="3" class="{kind}"/>'
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{text}" class="{kind}"/>'


def reliability(bins: list[tuple[float, float, int]]) -> str:
    """How often answers of a confidence are right: on the diagonal where confidence can be believed.

    Args:
        bins: as `training.evaluate.metrics.calibration_bins` gives them.
    """
    total = sum(count for _, _, count in bins)
    dots = "".join(
        f'<circle cx="{MARGIN + confidence * SIDE:.1f}" cy="{MARGIN + (1 - accuracy) * SIDE:.1f}" '
        f'r="{3 + 12 * (count / total) ** 0.5:.1f}" class="c0">'
        f"<title>{count} images: confidence {confidence:.3f}, accuracy {accuracy:.3f}</title></circle>"
        for confidence, accuracy, count in bins
    )
    far = MARGIN + SIDE
    return (
        f'<svg viewBox="0 0 {far + MARGIN} {far + MARGIN}" class="square" role="img" aria-label="reliability">'
        f'<polyline points="{MARGIN},{MARGIN} {MARGIN},{far} {far},{far} {far},{MARGIN} {MARGIN},{MARGIN}" class="c1"/>'
        f'<polyline points="{MARGIN},{far} {far},{MARGIN}" class="c1"/>{dots}</svg>'
    )
