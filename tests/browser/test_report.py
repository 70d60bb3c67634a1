"""The report in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.browser.screenshot import HEIGHT, WIDTH, take_screenshot
from tests.browser.tiny_run import AWKWARD, STRUCTURES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Log

pytestmark = pytest.mark.browser
ROWS = "#table tbody tr:not([hidden])"


@pytest.fixture
def opened(page: Page, log: Log, report: Path) -> Iterator[Page]:
    """The report, just opened; it must neither complain nor ask for anything."""
    page.goto(report.as_uri())
    yield page
    assert log.said == []
    assert [url for url in log.asked if not url.startswith("data:")] == [report.as_uri()]


def column(page: Page, heading: str) -> list[str]:
    headings = page.locator("#table thead tr > *").all_inner_texts()
    position = [text.strip() for text in headings].index(heading) + 1
    return page.locator(f"{ROWS} > :nth-child({position})").all_inner_texts()


def test_names_are_text_and_never_markup(opened: Page) -> None:
    assert AWKWARD in column(opened, "Subject")
    assert opened.locator("#table tbody b, h1 i, li i").count() == 0
    assert opened.locator("p.subtitle").inner_text() == "Two <nested> spheres"


def test_a_heading_sorts_in_both_directions(opened: Page) -> None:
    numbers = [float(text) for text in column(opened, "Mean")]
    assert numbers == sorted(numbers)
    button = opened.get_by_role("button", name="gland", exact=True)
    button.click()
    ascending = [float(text) for text in column(opened, "gland")]
    button.press("Enter")
    descending = [float(text) for text in column(opened, "gland")]
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    heading = opened.locator("th", has=button)
    assert heading.get_attribute("aria-sort") == "descending"
    assert opened.locator("[aria-sort]:not([aria-sort=none])").count() == 1


def test_names_sort_by_their_numbers_and_failures_by_their_distance(opened: Page) -> None:
    opened.get_by_role("button", name="Subject", exact=True).click()
    names = [name for name in column(opened, "Subject") if name.startswith("case")]
    assert names == [f"case_{number:03d}" for number in range(1, 14)]
    opened.locator("#metric").select_option("hd95_mm")
    button = opened.get_by_role("button", name=STRUCTURES[1], exact=True)
    button.click()
    button.click()
    assert column(opened, STRUCTURES[1])[0] == "missed"
    assert column(opened, "Mean")[0] == "∞"


def test_words_and_switches_filter(opened: Page) -> None:
    assert opened.locator(ROWS).count() == 14
    opened.locator("#search").fill("SITE CASE_00 invented_")
    assert opened.locator(ROWS).count() == 0
    opened.locator("#search").fill("SITE CASE_00")
    assert opened.locator(ROWS).count() == 9
    opened.locator("#search").fill("missed")
    assert column(opened, "Subject") == ["case_001"]
    opened.locator("#search").fill("")
    opened.locator("#split").select_option("test")
    assert set(column(opened, "Fold")) == {"ensemble"}
    opened.locator("#split").select_option("")
    opened.locator("#flagged").check()
    assert column(opened, "Subject") == ["case_001", "case_005"]
    assert opened.locator("#count").inner_text() == "2 of 14 subjects"
    opened.locator("#search").fill("nobody")
    assert opened.locator(ROWS).count() == 0


def test_every_comparison_is_one_sentence_with_its_verdict(opened: Page) -> None:
    sentences = opened.locator(".sentences li").all_inner_texts()
    labels = ["better", "worse", "not inferior", "inconclusive", "refused", "not computed"]
    assert [text.split("\n")[0] for text in sentences] == labels
    better = (
        "+0.021 (95 % CI 0.008 to 0.034, adjusted p = 0.012 after Holm, n = 10); Tiny is better."
    )
    assert sentences[0].endswith(better)
    assert sentences[4].endswith("refused, because it was trained on case_001.")
    assert "1 exploratory comparison is" in opened.locator("#comparisons").inner_text()


def test_figures_are_inside_at_screen_size_or_say_why_not(opened: Page) -> None:
    images = opened.locator("figure img")
    for image in images.all():
        assert image.evaluate("image => image.complete && image.naturalWidth") == 1600
        assert image.get_attribute("alt")
    assert opened.locator("#figure-ranks").count() == 0
    assert "No run was compared." in opened.locator(".missing").inner_text()
    for link in opened.locator("figure a, .files a").all():
        address = str(link.evaluate("link => link.href"))
        assert address.startswith("file:")
        assert Path(address.removeprefix("file://")).is_file()


def test_on_paper_there_is_nothing_to_click(opened: Page) -> None:
    opened.emulate_media(media="print")
    try:
        for hidden in ("nav", ".filters", ".links >> nth=0"):
            assert not opened.locator(hidden).is_visible()
        assert opened.locator("#table").is_visible()
    finally:
        opened.emulate_media(media="screen")


def test_the_screenshot_is_that_of_the_readme(page: Page, report: Path, tmp_path: Path) -> None:
    take_screenshot(page, report, tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)
        assert len(picture.convert("RGB").getcolors(WIDTH * HEIGHT) or []) > 50
