from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.paper.facts import gather_facts
from crossfold.paper.report import write_report
from tests.browser.screenshot import find_chromium, new_page, open_browser
from tests.browser.tiny_run import RUN, make_run, report_inputs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


# A module's, not a session's: while Playwright runs, no other test of the process can use asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the Python package playwright is not installed")
    if find_chromium() is None:
        pytest.skip("no chromium on the PATH")
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page."""
    opened = new_page(browser)
    yield opened
    opened.close()


@dataclass(frozen=True)
class Log:
    """What a page said to its console, and which addresses it asked for."""

    said: list[str]
    asked: list[str]


@pytest.fixture
def log(page: Page) -> Log:
    """What the page says and asks for, from now on."""
    log = Log([], [])
    page.on("console", lambda message: log.said.append(message.text))
    page.on("pageerror", lambda error: log.said.append(str(error)))
    page.on("request", lambda request: log.asked.append(request.url[:100]))
    return log


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with images."""
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def report(results: Path) -> Path:
    """The report of that run."""
    inputs = report_inputs(results)
    facts = gather_facts(inputs, run=RUN, statistics=StatisticsConfig(resamples=999))
    write_report(inputs, results / "report.html", facts)
    return results / "report.html"
