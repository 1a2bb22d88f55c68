"""Every Python block of the README and the documentation runs, and so do the tests in them."""

import re
from pathlib import Path

import pytest

import jlangevin as jl

ROOT = Path(__file__).parent.parent
README, *OTHERS = PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]


@pytest.mark.parametrize(
    "page",
    [README, *(pytest.param(page, marks=pytest.mark.slow) for page in OTHERS)],
    ids=lambda page: page.stem,
)
def test_the_code_of_a_page_runs(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pages write their files there
    namespace = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        exec(compile(block, str(page), "exec"), namespace)
    for name, test in namespace.items():
        if name.startswith("test_"):  # as pytest would
            test()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_gallery_shows_every_picture():
    page = (ROOT / "docs" / "pages" / "gallery.md").read_text()
    made = set(re.findall(r"jl\.plot\.(\w+)\(", page))
    assert set(jl.plot.__all__) - made == {"COLORS", "figure", "moment_against_steps"}
    shown = {Path(name).name for name in re.findall(r"!\[[^]]+\]\((gallery/[^)]+)\)", page)}
    assert shown == {file.name for file in (ROOT / "docs" / "pages" / "gallery").iterdir()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_is_in_the_navigation(page):
    if page.name != "README.md":
        path = page.relative_to(ROOT / "docs" / "pages").as_posix()
        assert re.search(rf"\s{re.escape(path)}$", (ROOT / "docs" / "mkdocs.yml").read_text(), re.M)
