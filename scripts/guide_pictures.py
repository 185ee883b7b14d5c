"""Draws the pictures of docs/workflows.md: ``python scripts/guide_pictures.py`` writes them into docs/images/.

They are committed, so that the guide shows them on any site and without a network; a test sees to it that they are what
this script draws. Each brings its own background, in light and in dark.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

FOLDER = Path(__file__).parents[1] / "docs" / "images"
LETTER = 0.602
"""The width of a letter of a monospaced font, in its size."""
CODE, SMALL = 13, 11.5
TALL = 34

# Each state's colour in light and in dark, and its sign, the one that `uno-jobs workflows show` prints.
STATES = {
    "plain": ("#46566b", "#a8b5c7", ""),
    "succeeded": ("#2e8540", "#5fc27a", "✓"),
    "failed": ("#b8324f", "#f0748c", "✗"),
    "cancelled": ("#8a4fb5", "#c494e8", "⊘"),
    "ready": ("#8c6d1f", "#dcb650", "○"),
    "waiting": ("#6b7684", "#8f9bab", "·"),
    "join": ("#2f6fb0", "#74aee8", ""),
}


def _style() -> str:
    rules = {"light": [".paper{fill:#fbfaf7}.box{fill:#fff}.name{fill:#1f2733}.note{fill:#5b6675}"]}
    rules["dark"] = [".paper{fill:#1c2128}.box{fill:#262d37}.name{fill:#e8edf4}.note{fill:#a3afbf}"]
    for name, (light, dark, _) in STATES.items():
        for mode, colour in (("light", light), ("dark", dark)):
            rules[mode].append(f".{name}{{stroke:{colour}}}.{name}-text{{fill:{colour}}}")
    fixed = (
        '.name{font:13px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}'
        '.note{font:12px "Helvetica Neue",Helvetica,Arial,"DejaVu Sans",sans-serif}'
        ".small{font-size:11.5px}.title{font-weight:600}.middle{text-anchor:middle}.line{fill:none;stroke-width:1.5}.box{stroke-width:1.5}"
        ".dashed{stroke-dasharray:5 4}.sign{font-weight:700}"
    )
    return f"{fixed}{''.join(rules['light'])}@media (prefers-color-scheme:dark){{{''.join(rules['dark'])}}}"


@dataclass(frozen=True)
class Box:
    """A step in a picture, by its middle."""

    x: float
    y: float
    width: float


@dataclass
class Picture:
    """What is drawn so far."""

    name: str
    title: str
    width: int
    height: int
    parts: list[str] = field(default_factory=list[str])

    def step(self, x: float, y: float, label: str, state: str = "plain", *, width: float | None = None) -> Box:
        """Draw a step around a middle; the box is as wide as its label needs."""
        sign = STATES[state][2]
        shown = f"{sign} {label}" if sign else label
        box = Box(x, y, width or len(shown) * CODE * LETTER + 26)
        dashed = " dashed" if state in {"waiting", "cancelled"} else ""
        self.parts.append(
            f'<rect class="box {state}{dashed}" x="{box.x - box.width / 2:.1f}" y="{y - TALL / 2:.1f}" '
            f'width="{box.width:.1f}" height="{TALL}" rx="8"/>'
        )
        spans = f'<tspan class="sign {state}-text">{sign}</tspan> {escape(label)}' if sign else escape(label)
        self.parts.append(f'<text class="name middle" x="{x:.1f}" y="{y + 4.5:.1f}">{spans}</text>')
        return box

    def join(self, x: float, y: float) -> Box:
        """Draw a join: a diamond."""
        points = f"{x:.1f},{y - 19} {x + 34:.1f},{y:.1f} {x:.1f},{y + 19} {x - 34:.1f},{y:.1f}"
        self.parts.append(f'<polygon class="box join" points="{points}"/>')
        self.parts.append(f'<text class="name middle join-text" x="{x:.1f}" y="{y + 4:.1f}">join</text>')
        return Box(x, y, 68)

    def arrow(self, start: Box, end: Box, state: str = "plain", *, dashed: bool = False) -> None:
        """Draw an arrow from a box's right side to another's left one."""
        x, y = start.x + start.width / 2 + 2, start.y
        to_x, to_y = end.x - end.width / 2 - 3, end.y
        bend = (to_x - x) / 2
        self.parts.append(
            f'<path class="line {state}{" dashed" if dashed else ""}" '
            f'd="M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x - 6:.1f} {to_y:.1f}"/>'
        )
        self.head(to_x, to_y, state)

    def head(self, x: float, y: float, state: str) -> None:
        """Draw an arrow's head that points to the right."""
        points = f"{x:.1f},{y:.1f} {x - 8:.1f},{y - 4.5:.1f} {x - 8:.1f},{y + 4.5:.1f}"
        self.parts.append(f'<polygon class="{state}-text" points="{points}"/>')

    def chip(self, x: float, y: float, code: str, state: str) -> Box:
        """Draw a value around a middle."""
        box = Box(x, y, len(code) * SMALL * LETTER + 16)
        self.parts.append(
            f'<rect class="box {state}" x="{x - box.width / 2:.1f}" y="{y - 14:.1f}" width="{box.width:.1f}" '
            f'height="28" rx="14"/><text class="name small middle" x="{x:.1f}" y="{y + 4:.1f}">{escape(code)}</text>'
        )
        return box

    def note(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Write words."""
        self.parts.append(f'<text class="note {kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def svg(self) -> str:
        """Return the whole."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" role="img" aria-label={quoteattr(self.title)}>',
                f"<style>{_style()}</style>",
                f'<rect class="paper" width="{self.width}" height="{self.height}" rx="10"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )


def chain() -> Picture:
    """Three steps, and what passes from each to the next."""
    picture = Picture("chain", "A chain: three steps, each after the one before", 760, 104)
    picture.note(22, 26, "chain(process_image, generate_thumbnail, update_metadata)", "title")
    steps = [
        picture.step(x, 66, name)
        for x, name in ((105, "process_image"), (365, "generate_thumbnail"), (638, "update_metadata"))
    ]
    for start, end in pairwise(steps):
        picture.arrow(start, end)
    return picture


def group() -> Picture:
    """The first workflow of the guide."""
    picture = Picture(
        "group", "A group in a chain: its members side by side, and a step that waits for all of them", 760, 166
    )
    picture.note(22, 26, "a group within a chain: side by side, and the next step waits for all", "title")
    first = picture.step(115, 98, "process_image")
    small, large = (
        picture.step(395, y, f"resize_image({size!r})".replace("'", '"')) for y, size in ((68, "small"), (128, "large"))
    )
    last = picture.step(655, 98, "publish")
    for member in (small, large):
        picture.arrow(first, member)
        picture.arrow(member, last)
    return picture


def join() -> Picture:
    """Two groups after each other, with the join between them."""
    picture = Picture("join", "A group in front of a group: a join holds the list of results between them", 760, 206)
    picture.note(22, 26, "a group in front of a group: n + m edges by way of a join, not n × m", "title")
    rows = (72, 122, 172)
    before = [picture.step(110, y, f"resize({number})") for number, y in enumerate(rows, 1)]
    middle = picture.join(378, 122)
    after = [picture.step(645, y, f"upload({place})") for place, y in zip("abc", rows, strict=True)]
    for box in before:
        picture.arrow(box, middle, "join")
    for box in after:
        picture.arrow(middle, box, "join")
    picture.note(378, 164, "a job without a task: done with the last", "middle")
    picture.note(378, 180, "member, its result is the list of theirs", "middle")
    return picture


def failure() -> Picture:
    """A step fails, what depends on it is cancelled, and a retry brings it back."""
    picture = Picture("failure", "A step fails for good, then is retried: before, between and after", 760, 468)
    scenes = [
        (
            "1. A step has failed for good: what depends on it is cancelled, its siblings run on, cleaning up runs",
            "failed",
            "cancelled",
            "succeeded",
            0,
        ),
        (
            "2. uno-jobs jobs retry ID: the step runs again, and what was cancelled because of it waits for it",
            "ready",
            "waiting",
            "succeeded",
            150,
        ),
        (
            "3. It succeeds, and the workflow goes on as if nothing had been; what has cleaned up does not run again",
            "succeeded",
            "succeeded",
            "succeeded",
            300,
        ),
    ]
    for title, broken, after, cleaned, top in scenes:
        picture.note(22, top + 28, title, "title")
        first = picture.step(112, top + 96, "process_image", "succeeded")
        small = picture.step(342, top + 66, 'resize("small")', "succeeded")
        large = picture.step(342, top + 126, 'resize("large")', broken)
        publish = picture.step(534, top + 96, "publish", after, width=120)
        release = picture.step(676, top + 96, "release", cleaned, width=112)
        for member in (small, large):
            picture.arrow(first, member)
            picture.arrow(member, publish, dashed=member is large and broken != "succeeded")
        picture.arrow(publish, release, dashed=after != "succeeded")
    picture.note(676, 136, 'on_parent_failure="run"', "middle")
    return picture


def binding() -> Picture:
    """Three steps, and where each of their arguments comes from."""
    picture = Picture("binding", "How the steps of a chain get their arguments from the results before them", 880, 312)
    columns = [
        ('process_image.s("image_1")', [('image_id="image_1"', "rule 2: the signature's own")]),
        (
            'resize_image.s("small")',
            [('image_id="proc_1"', "rule 4: the one value before it"), ('size="small"', "rule 2: the signature's own")],
        ),
        (
            "update_metadata.s()",
            [
                ('resized_id="proc_1_small"', "rule 3: by its name"),
                ('processed_image_id="proc_1"', "rule 3: by its name"),
            ],
        ),
    ]
    returned = ['{"processed_image_id": "proc_1"}', '{"resized_id": "proc_1_small"}']
    places = (142.0, 440.0, 738.0)
    chips: list[list[Box]] = []
    for x, (step, arguments) in zip(places, columns, strict=True):
        picture.step(x, 40, step, width=232)
        chips.append([picture.chip(x, 100 + 62 * row, words, "join") for row, (words, _) in enumerate(arguments)])
        for row, (_, why) in enumerate(arguments):
            picture.note(x, 129 + 62 * row, why, "middle")
    results = [picture.chip(x, 240, words, "succeeded") for x, words in zip(places, returned, strict=False)]
    for x in places[:2]:
        picture.note(x, 215, "returns", "middle")
    picture.arrow(results[0], chips[1][0], "succeeded")
    picture.arrow(results[1], chips[2][0], "succeeded")
    # The first result again, past the second step to the third.
    end = chips[2][1]
    left, lane = end.x - end.width / 2 - 3, end.x - end.width / 2 - 26
    picture.parts.append(
        f'<path class="line succeeded" d="M{places[0]} 256V278Q{places[0]} 288 {places[0] + 10} 288H{lane - 10}'
        f'Q{lane} 288 {lane} 278V{end.y + 10}Q{lane} {end.y} {lane + 10} {end.y}H{left - 6}"/>'
    )
    picture.head(left, end.y, "succeeded")
    return picture


PICTURES = (chain, group, join, binding, failure)


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for draw in PICTURES:
        picture = draw()
        (FOLDER / f"{picture.name}.svg").write_text(picture.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
