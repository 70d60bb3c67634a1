from pathlib import Path

from crossfold.config.reference import HEADINGS, REFERENCE, reference, write_reference
from crossfold.config.schema import config_schema


def test_the_page_in_docs_is_up_to_date() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), (
        "run `python -m crossfold.config.reference`"
    )


def test_every_section_has_a_heading() -> None:
    assert set(HEADINGS) == {"Config", *config_schema()["$defs"]}


def test_bounds_defaults_and_required_keys_are_shown() -> None:
    page = reference()
    assert "| `overlap` | number ≥ 0 and < 1 | `0.5` |" in page
    assert "| `dataset` | text or [dataset revision](#dataset-revision) | required |" in page
    assert "| `precision` | `auto` or `bf16` or `fp16` or `fp32` | `auto` |" in page


def test_every_link_leads_to_a_heading() -> None:
    page = reference()
    anchors = {heading.lower().replace(" ", "-") for heading in HEADINGS.values()}
    targets = {part.partition(")")[0] for part in page.split("](#")[1:]}
    assert targets <= anchors


def test_it_is_written_whole(tmp_path: Path) -> None:
    write_reference(tmp_path / "configuration.md")
    assert (tmp_path / "configuration.md").read_text(encoding="utf-8") == reference()
