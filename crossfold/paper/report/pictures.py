"""Pictures inside a page: figures at the size of a screen, thumbnails at that of a table."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from crossfold.evaluation.frames import read_frame
from crossfold.paper.catalogue import FIGURES, Entry

SCREEN_WIDTH = 1600
THUMBNAIL_WIDTH = 96
_THUMBNAIL_QUALITY = 60
# Figures are made for paper, at 7 points; on a screen they are read from further away.
_ENLARGEMENT = 1.45
_SCREEN_DPI, _PRINT_DPI = 96, 300


@dataclass(frozen=True)
class Picture:
    """A picture as HTML needs it.

    Parameters
    ----------
    source
        The picture itself, as a `data:` address.
    width, height
        Its size on the page, so that nothing there moves while it is read.
    """

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class ShownFigure:
    """A figure of the catalogue, and why it is not there if it is not.

    Parameters
    ----------
    name, entry
        Its name, and the words around it.
    picture
        None if there was nothing to draw.
    reason
        Why there was nothing, as a sentence.
    links
        Addresses of its files beside the page, by their suffix.
    """

    name: str
    entry: Entry
    picture: Picture | None
    reason: str
    links: dict[str, str]


def figure_picture(file: Path) -> Picture:
    """Return a PNG, not wider than `SCREEN_WIDTH`, with at most 256 colours.

    On the page all figures have the same scale, so that their text has the same size.
    """
    with Image.open(file) as opened:
        image = opened.convert("RGB")
        dots_per_inch = float(opened.info.get("dpi", (_PRINT_DPI, _PRINT_DPI))[0])
    scale = _ENLARGEMENT * _SCREEN_DPI / dots_per_inch
    shown = (round(image.width * scale), round(image.height * scale))
    if image.width > SCREEN_WIDTH:
        height = round(image.height * SCREEN_WIDTH / image.width)
        image = image.resize((SCREEN_WIDTH, height), Image.Resampling.LANCZOS)
    image = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return replace(_picture(image, "png", optimize=True), width=shown[0], height=shown[1])


def thumbnail_picture(file: Path) -> Picture:
    """Return a small WebP: a page may have a thousand of them."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH), Image.Resampling.LANCZOS)
    return _picture(image, "webp", quality=_THUMBNAIL_QUALITY, method=6)


def _picture(image: Image.Image, kind: str, **options: int) -> Picture:
    content = io.BytesIO()
    image.save(content, kind, **options)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind};base64,{encoded}", image.width, image.height)


def shown_figures(files: Iterable[Path], page: Path) -> Iterator[ShownFigure]:
    """Yield the figures that were drawn, in the order of the catalogue.

    Parameters
    ----------
    files
        Their PNG files; PDF and CSV lie beside them.
    page
        Where the page will be.
    """
    by_name = {file.stem: file for file in files if file.suffix == ".png"}
    for name, entry in FIGURES.items():
        if name not in by_name:
            continue
        file = by_name[name]
        reason = _reason(file.with_suffix(".csv"))
        beside = [file.with_suffix(suffix) for suffix in (".pdf", ".png", ".csv")]
        yield ShownFigure(
            name=name,
            entry=entry,
            picture=None if reason else figure_picture(file),
            reason=reason,
            links={f.suffix[1:].upper(): address(f, page) for f in beside if f.is_file()},
        )


def address(file: Path, page: Path) -> str:
    """Return the address of a file as seen from the page."""
    return quote(Path(os.path.relpath(file, page.parent)).as_posix(), errors="surrogatepass")


def _reason(table: Path) -> str:
    """Return why a figure is empty: its table has then nothing but the reason."""
    if not table.is_file():
        return ""
    frame = read_frame(table)
    return str(frame["reason"].iloc[0]) if list(frame.columns) == ["reason"] else ""
