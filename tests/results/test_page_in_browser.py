"""The page in a browser: sorting, no console error, no request, nothing that hinders a reader, in light and dark."""

import io
import os
import shutil
from importlib import import_module

import pytest
import synthetic_runs
from matplotlib import image

from hf_vasso.results.report import write_report

REQUIRED = bool(os.environ.get("HF_VASSO_REQUIRE_BROWSER"))
load = import_module if REQUIRED else pytest.importorskip
sync_api = load("playwright.sync_api")
axe = load("axe_playwright_python.sync_playwright")

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
NO_BROWSER = "no Chromium here: install Debian's package `chromium`, or Chrome"


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        (pytest.fail if REQUIRED else pytest.skip)(NO_BROWSER)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["suite", "hostile"])
def address(request, tmp_path_factory) -> str:
    """Where the report of a suite, and that of hostile records, can be opened."""
    folder = tmp_path_factory.mktemp(request.param)
    {"suite": synthetic_runs.write_suite, "hostile": synthetic_runs.write_hostile}[request.param](folder / "runs")
    return write_report(folder / "runs", folder / "report").as_uri()


@pytest.fixture
def page(browser, address):
    """The opened page; a console message, an error or a request beside its own fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url != address else None)
    page.goto(address)
    yield page
    page.close()
    assert heard == []


def column(page, table: int, number: int) -> list[str]:
    cells = page.locator("table").nth(table).locator(f"tbody td:nth-child({number + 1})")
    return cells.all_inner_texts()


def test_no_script_of_a_record_runs(page):
    assert page.title().endswith(": report")
    assert page.locator("img").count() == 0


def test_click_sorts(page):
    header = page.locator("table").first.locator("th").nth(1)
    before = column(page, 0, 1)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    numbers = [float(text.split()[0]) for text in column(page, 0, 1)]
    assert numbers == sorted(numbers)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert [float(text.split()[0]) for text in column(page, 0, 1)] == sorted(numbers, reverse=True)
    assert sorted(column(page, 0, 1)) == sorted(before)


def test_keys_sort(page):
    first = page.locator("table").first
    before = column(page, 0, 0)
    first.locator("th button").first.focus()
    page.keyboard.press("Enter")
    words = column(page, 0, 0)
    assert sorted(words) == sorted(before)
    page.keyboard.press("Space")
    assert column(page, 0, 0) == words[::-1]
    first.locator("th button").nth(1).click()
    assert first.locator("th[aria-sort]").count() == 1  # the mark moves on


@pytest.mark.parametrize(
    "ascending", [["-2.5 ± 1", "< 0.001", "+9", "10", ""], ["AdamW", "sam", "vasso-2", "vasso-10", ""]]
)
def test_order(page, ascending):
    """Numbers by their size, words by the alphabet, empty cells last in both directions."""
    page.evaluate(
        """words => {
          const body = document.querySelector("table").tBodies[0];
          body.replaceChildren();
          for (const word of words) body.insertRow().insertCell().textContent = word;
        }""",
        sorted(ascending),
    )
    button = page.locator("table").first.locator("th button").first
    button.click()
    assert column(page, 0, 0) == ascending
    button.click()
    assert column(page, 0, 0) == [*ascending[-2::-1], ""]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("part => part.open = true")
    result = axe.Axe().run(page)
    assert result.violations_count == 0, result.generate_report()
    checked = {rule["id"] for rule in result.response["passes"]}
    assert {"color-contrast", "landmark-one-main", "region", "heading-order", "scrollable-region-focusable"} <= checked


def test_dark_is_dark(page):
    def paper() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="light")
    light = paper()
    page.emulate_media(color_scheme="dark")
    assert (light, paper()) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")


@pytest.mark.parametrize("width", [360, 768])
def test_only_tables_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    for details in page.locator("details").all():
        details.evaluate("part => part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_table_that_goes_on_has_a_shadow_on_a_phone(page):
    """At its right edge, until its end covers it."""
    page.set_viewport_size({"width": 360, "height": 800})
    box = page.locator(".scroll").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => { for (const cell of box.querySelectorAll('td, th')) cell.style.visibility = 'hidden'; }")
    before = box.screenshot()
    box.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
    assert edge_brightness(box.screenshot()) > edge_brightness(before) + 0.05


def edge_brightness(png: bytes) -> float:
    """Of the last pixels of all lines, in [0, 1]."""
    return float(image.imread(io.BytesIO(png))[:, -4:, :3].mean())


def test_the_keyboard_reaches_the_answer_first(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_print_has_no_controls(page):
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    arrow = "getComputedStyle(document.querySelector('th button'), '::after').display"
    assert page.evaluate(arrow) == "none"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
