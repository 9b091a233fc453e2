"""Draws the picture of the first page, for light and for dark pages.

    python docs/draw_idea.py    # writes docs/_static/idea-light.svg and idea-dark.svg

Written as SVG, so that it is sharp at any size and its words can be searched. What is trained and
thrown away is dashed, what stays is solid and filled: nothing is told by color alone.
"""

from pathlib import Path
from typing import NamedTuple


class Colors(NamedTuple):
    """Of one of the two pictures."""

    ink: str
    quiet: str
    kept: str
    kept_ink: str
    taught: str


LIGHT = Colors("#1b1f24", "#57606a", "#cfe3f5", "#0b3d66", "#9a4a00")
DARK = Colors("#e6edf3", "#a5afba", "#1f4668", "#e3f1ff", "#ffb26b")

FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"
TITLE = "How SGFD teaches the layer that a recommender reads"
DESCRIPTION = (
    "Raw image and text features go two ways. Below, through the student, a shallow layer, into "
    "the recommender and its loss; this stays. Above, through a deep teacher that learns to "
    "predict the items' labels; it pulls the student's features and predictions towards its own "
    "while both train, and is thrown away afterwards."
)


def text(
    x: float,
    y: float,
    words: str,
    color: str,
    *,
    size: int = 17,
    weight: int = 400,
    anchor: str = "middle",
) -> str:
    """One line."""
    return (
        f"<text x='{x}' y='{y}' fill='{color}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}'>{words}</text>"
    )


def box(
    x: float, y: float, w: float, h: float, lines: list[str], c: Colors, *, kept: bool
) -> list[str]:
    """A rectangle whose first line is its name."""
    style = (
        f"fill='{c.kept}' stroke='{c.kept_ink}' stroke-width='2'"
        if kept
        else f"fill='none' stroke='{c.taught}' stroke-width='2' stroke-dasharray='7 4'"
    )
    ink = c.kept_ink if kept else c.ink
    top = y + h / 2 - (len(lines) - 1) * 13 + 6
    drawn = [f"<rect x='{x}' y='{y}' width='{w}' height='{h}' rx='8' {style}/>"]
    for i, line in enumerate(lines):
        size, weight = (19, 650) if i == 0 else (17, 400)
        drawn.append(text(x + w / 2, top + 26 * i, line, ink, size=size, weight=weight))
    return drawn


def arrow(points: str, color: str, *, dashed: bool = False) -> str:
    """A line with a head at its end."""
    dash = " stroke-dasharray='7 4'" if dashed else ""
    marker = "taught" if dashed else "kept"
    return (
        f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='2'{dash}"
        f" marker-end='url(#{marker})'/>"
    )


def head(name: str, color: str) -> str:
    """An arrow head."""
    return (
        f"<marker id='{name}' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='8' "
        f"markerHeight='8' orient='auto-start-reverse'><path d='M0 0 L10 5 L0 10 z' "
        f"fill='{color}'/></marker>"
    )


def draw(c: Colors) -> str:
    """The picture."""
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 760 420' role='img' {FONT}>",
        f"<title>{TITLE}</title>",
        f"<desc>{DESCRIPTION}</desc>",
        f"<defs>{head('kept', c.ink)}{head('taught', c.taught)}</defs>",
        # the features, once for both ways
        *box(4, 142, 164, 108, ["raw features", "image, text, ...", "of every item"], c, kept=True),
        arrow("86,142 86,66 218,66", c.taught, dashed=True),
        arrow("86,250 86,326 218,326", c.ink),
        # above: the teacher
        *box(222, 12, 204, 108, ["teacher", "deep, per modality", "and fused"], c, kept=False),
        arrow("426,66 536,66", c.taught, dashed=True),
        text(480, 54, "learns", c.quiet),
        *box(
            540, 12, 216, 108, ["semantic labels", "what items are:", "categories"], c, kept=False
        ),
        # between: what distillation does
        arrow("324,122 324,268", c.taught, dashed=True),
        text(340, 190, "pulls the student's features", c.ink, anchor="start"),
        text(340, 214, "and predictions to its own", c.ink, anchor="start"),
        # below: what the recommender is
        *box(
            222, 272, 204, 108, ["student", "the one layer that", "was always there"], c, kept=True
        ),
        arrow("426,326 536,326", c.ink),
        text(480, 314, "reads", c.quiet),
        *box(
            540,
            272,
            216,
            108,
            ["your recommender", "its own loss,", "its own training"],
            c,
            kept=True,
        ),
        text(380, 410, "solid: stays.  dashed: gone after training.", c.quiet),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    for name, colors in (("light", LIGHT), ("dark", DARK)):
        path = Path(__file__).parent / "_static" / f"idea-{name}.svg"
        path.write_text(draw(colors), encoding="utf-8")
