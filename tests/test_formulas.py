"""The notation of our formulas: what `docs/mathml.py` reads, how it is set, what is refused."""

import re
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest
from mathml import NotAFormulaError, is_formula, mathml

ROOT = Path(__file__).parent.parent


def body(text, display=False):
    """The elements inside `math`, without the tags of single letters, numbers and signs."""
    inner = re.fullmatch(r"<math [^>]*>(.*)</math>", mathml(text, display), re.S)[1]
    return re.sub(r"</?m[ion]( [^>]*)?>", "", inner.replace('<mspace width="0.17em"/>', " "))


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("2ηT", "2ηT"),
        ("x - η", "x−η"),
        ("ξ_t", "<msub>ξ<mrow>t</mrow></msub>"),
        ("ξ_{t+1}", "<msub>ξ<mrow>t+1</mrow></msub>"),
        ("h²", "<msup>h<mrow>2</mrow></msup>"),
        ("L⁻ᵀ", "<msup>L<mrow>−T</mrow></msup>"),
        ("M^{-1/2}", "<msup>M<mrow>−1/2</mrow></msup>"),
        ("x'", "<mrow>x′</mrow>"),
        ("g'_i", "<msub><mrow>g′</mrow><mrow>i</mrow></msub>"),
        ("σ_l²", "<msubsup>σ<mrow>l</mrow><mrow>2</mrow></msubsup>"),
        ("λ_max", "<msub>λ<mrow><mtext>max</mtext></mrow></msub>"),
        ("sqrt(2ηT) ξ", "<msqrt>2ηT</msqrt> ξ"),
        ("√T", "<msqrt>T</msqrt>"),
        ("step_size ξ", "<mtext>step_size</mtext> ξ"),
        ("hT", "<mrow>hT</mrow>"),
        ("dx", "<mrow>dx</mrow>"),
        ("|x|²", "<msup><mrow>|x|</mrow><mrow>2</mrow></msup>"),
        ("q(x|y)", "q<mrow>(x|y)</mrow>"),
    ],
)
def test_how_it_is_set(text, set_as):
    assert body(text) == set_as


@pytest.mark.parametrize(
    ("text", "over", "under"),
    [
        ("(ξ + ψ)/2", "ξ+ψ", "2"),
        ("h ĝ(x)/m", "ĝ<mrow>(x)</mrow>", "m"),
        ("a / (1 + η |x|)", "a", "1+η <mrow>|x|</mrow>"),
        ("(u + ν z) / |u + ν z|", "u+ν z", "<mrow>|u+ν z|</mrow>"),
        ("2γhT/m", "2γ<mrow>hT</mrow>", "m"),
    ],
)
def test_a_slash_is_a_fraction_in_display_alone(text, over, under):
    frac = f"<mfrac><mrow>{over}</mrow><mrow>{under}</mrow></mfrac>"
    assert frac in body(text, display=True)
    assert "mfrac" not in mathml(text)


@pytest.mark.parametrize("text", ["sqrt(2η", "η)", "(η]", "|η", "x_", "η / ", "`η`"])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(NotAFormulaError):
        mathml(text, display=True)
    assert not is_formula(text) or text == "η / "


@pytest.mark.parametrize(
    "text", ["x + 1", "run.draws", "half the distance between two of the draws, √2 of them"]
)
def test_code_and_sentences_are_not_formulas(text):
    assert not is_formula(text)


def test_every_formula_of_the_pages_and_docstrings_is_well_formed():
    """So a browser can draw it; and most indented blocks with a sign of mathematics are read."""
    read, left = 0, []
    for path in [*ROOT.glob("docs/pages/**/*.md"), *ROOT.glob("jlangevin/**/*.py")]:
        text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.M | re.S)
        for block in re.findall(r"(?<=\n\n)((?: {4,}\S.*\n)+)(?=\n)", text):
            for line in textwrap.dedent(block).splitlines():
                if "ξ" not in line or re.search('[`"#]|>>>', line):
                    continue
                for cell in re.split(r"\s{2,}", line.strip()):
                    try:
                        ElementTree.fromstring(mathml(cell, display=True).replace("&nbsp;", " "))
                        read += 1
                    except NotAFormulaError as error:
                        left.append(f"{path.name}: {error}")
    assert read > 40
    assert not left
