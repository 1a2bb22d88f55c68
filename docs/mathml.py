"""Formulas as our docstrings write them, as MathML: `x' = x - η ∇E(x) + sqrt(2ηT) ξ_t`.

The notation is plain text that reads well in a terminal. What it knows:

    x_t, ξ_{t+1}, x², Lᵀ, M^{-1/2}, g'_i    scripts and primes
    sqrt(2ηT), √T                           roots
    a/b, (a + b) / c                        fractions, in a displayed formula
    |x|, ⟨f, h⟩, ⌈x⌉, (x), [x], {x}         brackets, which must be closed
    log, exp, min, …                        functions, upright; other words are words
    Σ_i, ∫, ∇, ∂                            signs

A sequence of letters is a word if it has three or more, or two small ones; otherwise each letter is
a variable. Two spaces or more separate formulas on one line. `mathml` raises `NotAFormulaError` for
what it cannot read, and the caller shows the text as it stands.
"""

from __future__ import annotations

import dataclasses
import html
import re

__all__ = ["NotAFormulaError", "is_formula", "mathml"]

SIGNS = re.compile(r"[α-ωΑ-Ωℓ∇∂∝≤≥±√∞Σ∫ᵀ⁻⁰-⁹¹²³½¼·←⟨⌈𝓔ĝūᾱ∈]| ~ |\w' = ")
FUNCTIONS = {
    *("log", "exp", "min", "max", "argmin", "argmax", "sup", "cosh", "sinh", "tanh"),
    *("tr", "det", "Cov", "Var", "erfc"),
}
UNDER = {"min", "max", "argmin", "argmax", "sup"}
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ", "0123456789+-T", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
LARGE = {"Σ": "∑", "∫": "∫"}
CLOSING = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "⌈": "⌉"}
FACTORS = ("atom", "function")
RELATIONS = {"<-": "←", "~": "∼", "-": "−"}
TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>\d+(?:,\d{3})*(?:\.\d+)?|[½¼])"
    r"|(?P<name>[A-Za-z]{2,}(?:_[a-z]{2,})+)"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<sup>[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ]+)"
    r"|(?P<sub>[₀-₉]+)"
    r"|(?P<operator>[-+]=|.)",
    re.S,
)


class NotAFormulaError(ValueError):
    """The text is not in the notation."""


@dataclasses.dataclass
class Node:
    """A piece of MathML and what its neighbours must know of it."""

    xml: str
    kind: str = "atom"  # or "operator", "word", "function", "slash", "gap"
    spaced: bool = False  # a space stands before it
    inner: str = ""  # of a group: what is between its brackets
    under: bool = False  # a subscript belongs below it


def is_formula(text: str) -> bool:
    """Whether a text shows a sign of mathematics, is no sentence, and is in the notation."""
    if not SIGNS.search(text) or re.search(r"(?:\b[a-z]{2,}\b[ ,]+){3}", text):
        return False
    try:
        mathml(text)
    except NotAFormulaError:
        return False
    return True


def mathml(text: str, display: bool = False) -> str:
    """The element of one formula; `display` sets fractions one above the other."""
    body = _Reader(text.strip(), display).read()
    style = ' displaystyle="true"' if display else ""
    return f'<math alttext="{html.escape(text.strip())}"{style}>{body}</math>'


class _Reader:
    def __init__(self, text: str, display: bool) -> None:
        self.tokens = [
            (str(found.lastgroup), found[0], found.start()) for found in TOKEN.finditer(text)
        ]
        self.text, self.display, self.at = text, display, 0

    def read(self) -> str:
        body = _row(self.sequence(None))
        if self.at < len(self.tokens):
            raise NotAFormulaError(f"{self.text!r}: {self.tokens[self.at][1]!r} closes nothing")
        return body

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        index = self.at + ahead
        return self.tokens[index][:2] if 0 <= index < len(self.tokens) else ("end", "")

    def sequence(self, until: str | None) -> list[Node]:
        """The nodes up to the closing bracket `until`, or the end."""
        nodes: list[Node] = []
        spaced = False
        while True:
            kind, text = self.peek()
            if kind == "end":
                if until is not None:
                    raise NotAFormulaError(f"{self.text!r}: no {until!r}")
                break
            if kind == "space":
                spaced = True
                self.at += 1
                if len(text) > 1 and until is None and nodes:
                    nodes.append(Node('<mspace width="2em"/>', "gap"))
                continue
            if text == until and not (until == "|" and spaced):
                self.at += 1
                break
            if text in CLOSING.values():
                if until is None:
                    break
                raise NotAFormulaError(f"{self.text!r}: {text!r} where {until!r} is awaited")
            nodes.append(self.scripted(spaced, nodes))
            spaced = False
        return self.fractions(nodes)

    def scripted(self, spaced: bool, before: list[Node]) -> Node:
        """One node with its primes, subscript and superscript."""
        node = self.single(before, spaced)
        node.spaced = spaced
        sub = sup = primes = ""
        while True:
            kind, text = self.peek()
            if kind == "sup":
                sup += "".join(_script(SUPERSCRIPTS[c]) for c in text)
                self.at += 1
            elif kind == "sub":
                sub += f"<mn>{''.join(SUBSCRIPTS[c] for c in text)}</mn>"
                self.at += 1
            elif text == "'":
                primes += '<mo lspace="0" rspace="0">′</mo>'
                self.at += 1
            elif text == "*" and self.peek(1)[0] in ("space", "end"):
                sup += "<mo>∗</mo>"
                self.at += 1
            elif text in ("_", "^") and self.peek(1)[0] != "space":
                self.at += 1
                script = self.script()
                sub, sup = (sub + script, sup) if text == "_" else (sub, sup + script)
            else:
                break
        if node.kind == "operator" and (sub or sup or primes) and not node.under:
            raise NotAFormulaError(f"{self.text!r}: a script of an operator")
        if primes:  # the sign is raised by itself
            node.xml = f"<mrow>{node.xml}{primes}</mrow>"
        if sub and node.under and self.display and not sup:
            node.xml = f"<munder>{node.xml}{_one(sub)}</munder>"
        elif sub and sup:
            node.xml = f"<msubsup>{node.xml}{_one(sub)}{_one(sup)}</msubsup>"
        elif sub or sup:
            tag = "msub" if sub else "msup"
            node.xml = f"<{tag}>{node.xml}{_one(sub or sup)}</{tag}>"
        if sub or sup or primes:
            node.inner = ""
        return node

    def script(self) -> str:
        """What follows `_` or `^`: a group in braces, or one token."""
        kind, text = self.peek()
        self.at += 1
        if text == "{":
            display, self.display = self.display, False
            nodes = self.sequence("}")
            self.display = display
            return _row(nodes)
        if kind == "word":
            return f"<mtext>{text}</mtext>" if len(text) > 2 else _letters(text)
        if kind in ("number", "operator") and (text.isalnum() or text in "∞"):
            return f"<mn>{text}</mn>" if kind == "number" else f"<mi>{text}</mi>"
        raise NotAFormulaError(f"{self.text!r}: {text!r} as a script")

    def single(self, before: list[Node], spaced: bool) -> Node:
        kind, text = self.peek()
        self.at += 1
        if kind == "number":
            return Node(f"<mn>{text}</mn>")
        if kind == "name":
            return Node(f"<mtext>{text}</mtext>")
        if kind == "word":
            return self.word(text)
        if kind in ("sup", "sub"):
            raise NotAFormulaError(f"{self.text!r}: {text!r} belongs to nothing")
        if text in CLOSING:
            inner = _row(self.sequence(CLOSING[text]))
            return Node(f"<mrow><mo>{text}</mo>{inner}<mo>{CLOSING[text]}</mo></mrow>", inner=inner)
        if text == "|":
            return self.bar(before, spaced)
        if text == "√":
            return Node(f"<msqrt>{self.radicand()}</msqrt>")
        if text in LARGE:
            return Node(f"<mo>{LARGE[text]}</mo>", "operator", under=text == "Σ")
        if text == "∇":
            return Node('<mo form="prefix" lspace="0" rspace="0">∇</mo>')
        if text == "/":
            return Node('<mo lspace="0" rspace="0">/</mo>', "slash")
        if text.isalpha() or text in "∂∞":
            return Node(f"<mi>{text}</mi>")
        if text in '`"\\$@&':
            raise NotAFormulaError(f"{self.text!r}: {text!r}")
        sign = html.escape(RELATIONS.get(text, text.replace("-", "−")))
        unary = text in ("-", "+", "±") and (not before or before[-1].kind in ("operator", "gap"))
        return Node(f'<mo form="prefix">{sign}</mo>' if unary else f"<mo>{sign}</mo>", "operator")

    def word(self, text: str) -> Node:
        if text == "sqrt" and self.peek()[1] == "(":
            return Node(f"<msqrt>{self.radicand()}</msqrt>")
        if text in FUNCTIONS:
            return Node(f"<mi>{text}</mi>", "function", under=text in UNDER)
        if re.fullmatch(r"d[A-Za-z]", text):  # a differential
            return Node(f"<mrow><mi>d</mi><mi>{text[1]}</mi></mrow>")
        if len(text) > 2 or (len(text) == 2 and text.islower()):
            return Node(text, "word")
        return Node(_letters(text))

    def radicand(self) -> str:
        node = self.single([], False)
        return node.inner or node.xml

    def bar(self, before: list[Node], spaced: bool) -> Node:
        """An absolute value if the bar opens one, else the sign of a condition."""
        opens = (spaced or not before or before[-1].kind in ("operator", "slash")) and (
            self.peek()[0] not in ("space", "end")
        )
        bar = '<mo stretchy="false" lspace="0" rspace="0">|</mo>'
        if not opens:
            return Node('<mo lspace="0.2em" rspace="0.2em">|</mo>', "operator")
        inner = _row(self.sequence("|"))
        return Node(f"<mrow>{bar}{inner}{bar}</mrow>")

    def fractions(self, nodes: list[Node]) -> list[Node]:
        """Replace a slash and its neighbours by a fraction, in display."""
        if not self.display:
            return nodes
        made: list[Node] = []
        index = 0
        while index < len(nodes):
            node = nodes[index]
            if node.kind != "slash":
                made.append(node)
                index += 1
                continue
            loose = node.spaced  # `a b / c d` takes all of a b and c d, `a b/c d` only b and c
            over: list[Node] = []
            while made and made[-1].kind in ("atom", "function"):
                over.insert(0, made.pop())
                if over[0].spaced and not loose:
                    break
            under: list[Node] = []
            index += 1
            while index < len(nodes) and nodes[index].kind in ("atom", "function"):
                if under and nodes[index].spaced and not loose:
                    break
                under.append(nodes[index])
                index += 1
            if not over or not under:
                raise NotAFormulaError(f"{self.text!r}: a fraction lacks a part")
            xml = f"<mfrac>{_part(over)}{_part(under)}</mfrac>"
            made.append(Node(xml, spaced=over[0].spaced))
        return made


def _letters(text: str) -> str:
    letters = "".join(f"<mi>{letter}</mi>" for letter in text)
    return letters if len(text) == 1 else f"<mrow>{letters}</mrow>"


def _script(text: str) -> str:
    return (
        f"<mn>{text}</mn>"
        if text.isdigit()
        else f"<mi>{text}</mi>"
        if text == "T"
        else "<mo>−</mo>"
    )


def _one(xml: str) -> str:
    """One element, as a script must be."""
    return f"<mrow>{xml}</mrow>"


def _part(nodes: list[Node]) -> str:
    """A part of a fraction, without brackets around all of it."""
    return _one(nodes[0].inner if len(nodes) == 1 and nodes[0].inner else _row(nodes))


def _row(nodes: list[Node]) -> str:
    """Words with spaces around them, and a thin one between factors that the text sets apart."""
    parts = []
    for index, node in enumerate(nodes):
        before = nodes[index - 1].kind if index else "operator"
        if node.kind == "word":
            left = "\u00a0" if index and node.spaced else ""
            after = index + 1 < len(nodes) and nodes[index + 1]
            right = "\u00a0" if after and after.spaced and after.kind != "word" else ""
            parts.append(f"<mtext>{left}{node.xml}{right}</mtext>")
            continue
        if node.kind in FACTORS and before in FACTORS and (node.spaced or node.kind == "function"):
            parts.append('<mspace width="0.17em"/>')
        parts.append(node.xml)
    return "".join(parts)
