"""Sets formulas as formulas: a hook of MkDocs that adds an extension to its Markdown.

Pages and docstrings keep formulas as text. Set as MathML, which browsers draw by themselves, is
what `mathml` can read of

    a block indented by four spaces    with a sign of mathematics in it, and no sentence
    what stands in backquotes          likewise, unless it is a call of a name of ours
    running text                       letters with scripts, and roots: x_0, e^{-t}, sqrt(2ηT)

All else in backquotes or indented is code, and so is everything in a fence.
"""

from __future__ import annotations

import html
import re
import textwrap
from importlib import resources
from typing import Any
from xml.etree import ElementTree

from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mathml import NotAFormulaError, is_formula, mathml
from mkdocs.structure.files import File

BACKQUOTED = r"(?<![\\`])`([^`]+)`(?!`)"
IN_TEXT = (
    r"(?<![A-Za-z0-9_\\])"
    r"(sqrt\([^()]*\)|[^\W\d_](?:_\{[^{}]*\}|_[A-Za-z0-9]+|\^\{[^{}]*\})['²]?)(?!\w)"
)
KEYWORD = re.compile(r"\w=[^=\s]")
CALL = re.compile(r"[\w.]*[A-Za-z]{3}[\w.]*\(.*\)", re.S)
MATHEMATICAL = re.compile(r"(?:exp|log|sqrt|abs|Cov|Var|cumprod)\(")


class Formulas(Extension):
    def extendMarkdown(self, md: Any) -> None:  # noqa: N802, as Markdown calls it
        md.parser.blockprocessors.register(Displayed(md.parser), "formula", 85)  # before code
        md.inlinePatterns.register(Backquoted(BACKQUOTED, md), "formula", 195)  # before code
        md.inlinePatterns.register(InText(IN_TEXT, md), "script", 62)  # before emphasis


class Displayed(BlockProcessor):
    """Indented lines, each a formula, in columns where all have as many parts."""

    def test(self, parent: ElementTree.Element, block: str) -> bool:
        before = self.lastChild(parent)
        if before is not None and before.tag == "pre":
            return False  # the next paragraph of a block of code
        return all(line.startswith("    ") for line in block.split("\n")) and bool(_rows(block))

    def run(self, parent: ElementTree.Element, blocks: list[str]) -> None:
        rows = _rows(blocks.pop(0))
        body = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        table = f'<div class="formula"><table class="formula">{body}</table></div>'
        ElementTree.SubElement(parent, "p").text = self.parser.md.htmlStash.store(table)


class Backquoted(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> Any:  # noqa: N802
        text = html.unescape(m[1])
        call = CALL.fullmatch(text) and not MATHEMATICAL.match(text)
        if call or KEYWORD.search(text) or not is_formula(text):
            return None, None, None
        return self.md.htmlStash.store(mathml(text)), m.start(0), m.end(0)


class InText(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> Any:  # noqa: N802
        try:
            return self.md.htmlStash.store(mathml(html.unescape(m[1]))), m.start(0), m.end(0)
        except NotAFormulaError:
            return None, None, None


def _rows(block: str) -> list[list[str]]:
    """The elements of a block of formulas, by lines and columns; nothing if it is not one."""
    text = textwrap.dedent(html.unescape(block)).rstrip()
    if not is_formula(text.replace("\n", "  ")):
        return []
    lines = text.splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    for row, line in zip(cells, lines, strict=True):
        if line.startswith(" "):  # it continues the line above, without its label
            row.insert(0, "")
    if len({len(row) for row in cells}) > 1:
        cells = [[line.strip()] for line in lines]
    try:
        return [[mathml(cell, display=True) if cell else "" for cell in row] for row in cells]
    except NotAFormulaError:
        return []


def on_files(files: Any, config: Any) -> Any:
    """A font with the measures of formulas, for machines that have none."""
    font = resources.files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"
    files.append(File.generated(config, "assets/formulas.ttf", content=font.read_bytes()))
    return files


def on_config(config: Any) -> Any:
    config.markdown_extensions.append(Formulas())
    return config
