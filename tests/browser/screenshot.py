"""The pictures of docs/images: `python -m tests.browser.screenshot PAGE.html PICTURE.png`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTH, HEIGHT = 1280, 900
# A browser in a container has no sandbox of its own, and no GPU: SwiftShader draws WebGL without.
OPTIONS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def find_chromium() -> str | None:
    """Return the path of an installed Chromium."""
    return next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser) -> Page:
    """Return an empty page of the size of the pictures."""
    return browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")


def take_screenshot(page: Page, page_file: Path, target: Path) -> None:
    """Write what a reader sees first of a page."""
    page.goto(page_file.resolve().as_uri())
    page.screenshot(path=target)


if __name__ == "__main__":
    with open_browser() as chromium:
        page = new_page(chromium)
        # Down to the planned comparisons.
        page.set_viewport_size({"width": WIDTH, "height": 1500})
        take_screenshot(page, *map(Path, sys.argv[1:3]))
