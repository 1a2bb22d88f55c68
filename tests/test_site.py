"""The documentation as a reader sees it: every page in a headless browser, wide and narrow, light
and dark.

Needs the built site (`CONTRIBUTING.md` has the command), Selenium (the extra `docs`), and Chromium
with its driver (Debian's packages chromium and chromium-driver). Screenshots go into
`build/screenshots`, for a person to look at.
"""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SITE = ROOT / "build" / "site"
PAGES = sorted(
    page.relative_to(SITE).as_posix()
    for page in SITE.rglob("*.html")
    if page.relative_to(SITE).parts[0] != "source" and page.name != "404.html"
)
SHOWN = [
    "index.html",
    "kernels.html",
    "conventions.html",
    "gallery.html",
    "api/jlangevin.kernels.html",
]
WIDTHS = {"wide": (1300, 900), "narrow": (400, 800)}

pytestmark = [
    pytest.mark.skipif(not PAGES, reason="the site is not built in build/site"),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no Chromium with its driver (packages chromium, chromium-driver)",
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra docs has Selenium")
    options = webdriver.ChromeOptions()
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        "hide-scrollbars",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{flag}")
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def look(browser, width, dark):
    """Set the size of the window, and whether the system is dark."""
    x, y = WIDTHS[width]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": x, "height": y, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def visit(browser, page):
    browser.get((SITE / page).as_uri())


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_window_or_has_an_error(browser, width):
    """Wide tables, formulas and code scroll by themselves; the page does not."""
    faults = []
    look(browser, width, dark=False)
    browser.get_log("browser")
    for page in PAGES:
        visit(browser, page)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        if wide > WIDTHS[width][0]:
            faults.append(f"{page}: {wide} pixels wide")
        faults += [f"{page}: {entry['message']}" for entry in browser.get_log("browser")]
    assert not faults, "\n".join(faults)


def test_wide_pages_and_errors_are_found(browser):
    """What the test above would see of a page that is too wide, and of one with an error."""
    look(browser, "narrow", dark=False)
    visit(browser, "index.html")
    browser.get_log("browser")
    browser.execute_script(
        "document.body.append(Object.assign(document.createElement('div'), "
        "{style: 'width: 900px; height: 1px'})); console.error('wrong')"
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") >= 900
    assert any("wrong" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("page", SHOWN)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_screenshots(browser, width, dark, page):
    look(browser, width, dark)
    visit(browser, page)
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    shades = [float(shade) for shade in background[background.index("(") + 1 : -1].split(",")[:3]]
    assert (sum(shades) / 3 < 100) == dark, background
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{Path(page).stem}-{width}-{'dark' if dark else 'light'}.png"
    assert browser.save_screenshot(str(folder / name))


def test_the_home_page_shows_picture_code_and_installation_in_one_screen(browser):
    look(browser, "wide", dark=False)
    visit(browser, "index.html")
    for what in ("article img", "article .home pre", "article h1"):
        bottom = browser.execute_script(
            f"return document.querySelector('{what}').getBoundingClientRect().bottom"
        )
        assert 0 < bottom <= WIDTHS["wide"][1], what
    assert "pip install" in browser.find_element("css selector", "article .home").text


def test_the_search_finds_a_kernel(browser):
    """In a page opened from a folder, with nothing from the network."""
    from selenium.webdriver.support.ui import WebDriverWait

    look(browser, "wide", dark=False)
    visit(browser, "index.html")
    browser.find_element("css selector", "[data-md-component=search-query]").send_keys("barker")
    found = WebDriverWait(browser, 20).until(
        lambda b: b.find_elements("css selector", ".md-search-result__link")
    )
    assert any("barker" in link.get_attribute("href") for link in found)


def test_formulas_are_formulas(browser):
    visit(browser, "kernels.html")
    assert browser.execute_script("return document.querySelectorAll('.formula math').length") > 4
    root = "return document.querySelector('.formula msqrt').getBoundingClientRect().height"
    assert browser.execute_script(root) > 5
    text = browser.find_element("css selector", "article").text
    assert "sqrt(" not in text


def test_entries_of_the_reference_link_to_their_source(browser):
    visit(browser, "api/jlangevin.kernels.html")
    link = browser.find_element("css selector", '[id="jlangevin.kernels.ula.ula"] a.source')
    browser.get(link.get_attribute("href"))
    line = browser.current_url.rpartition("#")[2]
    assert browser.execute_script(f"return document.getElementById('{line}') !== null")
    assert "def ula(" in browser.find_element("css selector", "article").text
