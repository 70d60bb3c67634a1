"""The viewer in a real browser: WebGL is drawn by SwiftShader, without a GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crossfold.paper.viewer.server import make_server
from crossfold.paper.viewer.study import Study
from tests.browser.tiny_run import AWKWARD, STRUCTURES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Log


pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(results: Path) -> Iterator[str]:
    """Where the viewer is served."""
    server = make_server(Study.read(results), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def viewer(page: Page, log: Log, address: str) -> Iterator[Page]:
    """The viewer with its first subject drawn; it must neither complain nor ask elsewhere."""
    page.goto(address)
    page.wait_for_selector("body[data-shown]")
    yield page
    assert log.said == []
    assert [url for url in log.asked if not url.startswith((address, "data:", "blob:"))] == []


def pixels(page: Page) -> NDArray[np.int16]:
    """Return what the canvas shows, (y, x, colour)."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shown = Image.open(BytesIO(page.locator("#canvas").screenshot()))
    return np.asarray(shown.convert("RGB"), np.int16)


def changed(before: NDArray[np.int16], after: NDArray[np.int16]) -> int:
    return int((np.abs(before - after).max(axis=-1) > 20).sum())


def test_slices_are_drawn_with_coloured_overlays(viewer: Page) -> None:
    shown = pixels(viewer)
    assert shown.std() > 10
    coloured = (shown.max(axis=-1) - shown.min(axis=-1)) > 60
    assert coloured.sum() > 500


@pytest.mark.parametrize("overlay", ["reference", "prediction", "uncertainty"])
def test_an_overlay_is_switched_faded_and_outlined(viewer: Page, overlay: str) -> None:
    panel = viewer.locator(f"[data-overlay={overlay}]")
    switch = panel.locator("[type=checkbox]")
    switch.set_checked(False)
    without = pixels(viewer)
    switch.set_checked(True)
    panel.locator("[type=range]").fill("100")
    opaque = pixels(viewer)
    assert changed(without, opaque) > 500
    panel.locator("[type=range]").fill("20")
    assert changed(opaque, pixels(viewer)) > 500
    if overlay != "uncertainty":
        panel.locator("[type=range]").fill("100")
        panel.locator("select").select_option("fill")
        area = pixels(viewer)
        panel.locator("select").select_option("line")
        assert changed(area, pixels(viewer)) > 500


def test_the_wheel_goes_to_another_slice(viewer: Page) -> None:
    before, place = pixels(viewer), viewer.locator("#location").inner_text()
    box = viewer.locator("#canvas").bounding_box()
    assert box is not None
    viewer.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    for _ in range(3):
        viewer.mouse.wheel(0, 100)
        viewer.wait_for_timeout(50)
    assert changed(before, pixels(viewer)) > 200
    assert viewer.locator("#location").inner_text() != place


def test_next_and_previous_show_other_subjects(viewer: Page) -> None:
    assert viewer.locator("#subject").inner_text() == AWKWARD
    assert viewer.locator("#previous").is_disabled()
    before = pixels(viewer)
    viewer.locator("#next").click()
    viewer.wait_for_selector("body[data-shown=case_001]")
    assert changed(before, pixels(viewer)) > 200
    assert viewer.locator("#structures tr").nth(1).inner_text().endswith("missed")
    viewer.keyboard.press("n")
    viewer.wait_for_selector("body[data-shown=case_002]")
    viewer.keyboard.press("p")
    viewer.wait_for_selector("body[data-shown=case_001]")


def test_subjects_out_of_fold_have_uncertainty_too(viewer: Page) -> None:
    viewer.locator("#search").fill("case_007")
    viewer.locator("#subjects [role=option]").click()
    viewer.wait_for_selector("body[data-shown=case_007]")
    assert "out of fold" in viewer.locator("#origin").inner_text()
    switch = viewer.locator("[data-overlay=uncertainty] [type=checkbox]")
    before = pixels(viewer)
    switch.check()
    assert changed(before, pixels(viewer)) > 500


def test_the_crosshair_tells_what_is_there(viewer: Page) -> None:
    said = viewer.locator("#location").inner_text()
    assert "reference " + STRUCTURES[0] in said
    assert "uncertainty 0." in said


def test_the_other_channel_of_a_4d_image_is_shown(viewer: Page) -> None:
    before = pixels(viewer)
    viewer.evaluate("delete document.body.dataset.shown")
    viewer.locator("#image").select_option("T2")
    viewer.wait_for_selector("body[data-shown]")
    assert changed(before, pixels(viewer)) > 2000


def test_a_missing_file_is_said_on_the_page(viewer: Page, log: Log, results: Path) -> None:
    file = results / "ensemble" / "segmentations" / "case_003.nii.gz"
    hidden = file.rename(file.with_suffix(".hidden"))
    try:
        viewer.evaluate("show(3)")
        message = viewer.locator("#message.error")
        message.wait_for()
        assert "no such file" in message.inner_text()
        assert "500" in log.said.pop()
    finally:
        hidden.rename(file)
