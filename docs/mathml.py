"""Equations as MathML, which browsers draw by themselves: no script, nothing fetched."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger

# Commands that LaTeX and MathJax know and docutils does not, and what they are to it.
TRANSLATED = {
    r"\dots": r"\ldots",
    r"\Big(": r"\Bigl(",
    r"\Big)": r"\Bigr)",
    r"\Big/": "/",
    r"\mathop{\text{softmax}}": r"\text{softmax}",
}


def inline(self, node: nodes.math) -> None:
    """An equation within a line."""
    self.body.append(convert(node, as_block=False))
    raise nodes.SkipNode


def block(self, node: nodes.math_block) -> None:
    """An equation on lines of its own; one that is wider than the page scrolls in its box."""
    self.body.append(f'<div class="equation">{convert(node, as_block=True)}</div>')
    raise nodes.SkipNode


def convert(node: nodes.Node, *, as_block: bool) -> str:
    """MathML of a node; what the converter does not know is a warning."""
    tex = node.astext()
    for command, known in TRANSLATED.items():
        tex = tex.replace(command, known)
    if as_block and r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    try:
        return tex2mathml(tex, as_block=as_block)
    except MathError as error:
        getLogger(__name__).warning("%s In: %s", error, tex, location=node)
        return tex


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
