"""The picture of the import graph, as SVG: modules stand on what they import, larger where more import them."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from examples.stdlib_survey.layers import arrange

if TYPE_CHECKING:
    import networkx as nx

MARGIN = 28
HEAD = 74
FOOT = 46
ROW = 58
PALETTE = ("#2f6fb0", "#c2571a", "#2e8540", "#8a4fb5", "#b8324f", "#0f8a8a", "#8c6d1f", "#5b5fc7", "#b0488f", "#4d7c0f")
ALONE = "#46566b"
COMPILED = "#737f8e"
STYLE = """
  text { font-family: "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif }
  .paper { fill: #fbfaf7 }
  .title { font-size: 21px; font-weight: 600; fill: #1f2733 }
  .note { font-size: 13px; fill: #5b6675 }
  .label { fill: #fff; text-anchor: middle }
  .edge { fill: none; stroke-width: 1.3; stroke-opacity: .38 }
"""


def to_svg(graph: nx.DiGraph[str], title: str, note: str) -> str:
    """Draw a graph as ``core`` returns it."""
    fonts = {node: _font(imported) for node, imported in graph.nodes(data="imported")}
    widths = {node: _text_width(node, font) + 1.1 * font for node, font in fonts.items()}
    layout = arrange(graph, {node: width + 18 for node, width in widths.items()})
    colours, legend = _colours(graph)
    width = max(layout.width, 760) + 2 * MARGIN
    left = (width - layout.width) / 2
    height = HEAD + layout.layers * ROW + FOOT

    def point(place: tuple[float, float]) -> tuple[float, float]:
        x, layer = place
        return left + x, HEAD + (layout.layers - layer - 0.5) * ROW

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f"aria-label={quoteattr(title)}>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}" rx="10"/>',
        f'<text class="title" x="{MARGIN}" y="38">{escape(title)}</text>',
        f'<text class="note" x="{MARGIN}" y="60">{escape(note)}</text>',
    ]
    for edge, places in layout.edges.items():
        path = _curve([point(place) for place in places])
        parts.append(f'<path class="edge" stroke="{colours[edge[1]]}" d="{path}"/>')
    for node, place in layout.nodes.items():
        x, y = point(place)
        font, wide = fonts[node], widths[node]
        tall = 1.62 * font
        parts += [
            f"<g><title>{escape(node)}: imported by {graph.nodes[node]['imported']}</title>",
            f'<rect x="{x - wide / 2:.1f}" y="{y - tall / 2:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
            f'rx="{tall / 2:.1f}" fill="{colours[node]}"/>',
            f'<text class="label" x="{x:.1f}" y="{y + 0.35 * font:.1f}" font-size="{font:.1f}">'
            f"{escape(node)}</text></g>",
        ]
    x = float(MARGIN)
    for name, colour in legend:
        parts.append(f'<circle cx="{x + 6:.1f}" cy="{height - 25:.0f}" r="6" fill="{colour}"/>')
        parts.append(f'<text class="note" x="{x + 17:.1f}" y="{height - 20.5:.1f}">{escape(name)}</text>')
        x += _text_width(name, 13) + 36
    return "\n".join([*parts, "</svg>", ""])


def _font(imported: int) -> float:
    return min(11 + 1.05 * math.sqrt(imported), 24.0)


def _text_width(text: str, font: float) -> float:
    # Wide enough for the widest of the fonts named above.
    return font * sum(0.36 if letter in "ijltf.rI " else 0.92 if letter in "mwMW" else 0.62 for letter in text)


def _colours(graph: nx.DiGraph[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return each module's colour, and what the colours mean: one for each package with several modules here."""
    sizes = Counter(node.partition(".")[0] for node in graph)
    packages = sorted((name for name, size in sizes.items() if size > 1), key=lambda name: (-sizes[name], name))
    colour_of = dict(zip(packages, PALETTE, strict=False))
    colours = {
        node: colour_of.get(node.partition(".")[0], ALONE if source else COMPILED)
        for node, source in graph.nodes(data="source")
    }
    legend = [(f"{name}.*", colour) for name, colour in colour_of.items()]
    return colours, [*legend, ("other modules", ALONE), ("in C", COMPILED)]


def _curve(points: list[tuple[float, float]]) -> str:
    """Return a smooth path through the points, vertical at both ends."""
    slopes = [0.0]
    for (before, top), (after, bottom) in zip(points, points[2:], strict=False):
        slopes.append((after - before) / (bottom - top))
    slopes.append(0.0)
    x, y = points[0]
    path = [f"M{x:.1f} {y:.1f}"]
    for (to_x, to_y), slope, to_slope in zip(points[1:], slopes, slopes[1:], strict=False):
        third = (to_y - y) / 3
        bends = f"{x + slope * third:.1f} {y + third:.1f} {to_x - to_slope * third:.1f} {to_y - third:.1f}"
        path.append(f"C{bends} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(path)
