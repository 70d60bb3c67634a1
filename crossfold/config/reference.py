"""docs/configuration.md, from the models: `python -m crossfold.config.reference` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from crossfold.config.models import ModelConfig
from crossfold.config.schema import config_schema
from crossfold.images import atomic_path

REFERENCE = Path(__file__).parents[2] / "docs" / "configuration.md"
INTRODUCTION = Path(__file__).parent / "templates" / "configuration.md"

# Heading of each section, in the order of the page.
HEADINGS = {
    "Config": "The file",
    "PhantomDataset": "A dataset of source phantom",
    "DecathlonDataset": "A dataset of source decathlon",
    "NnunetDataset": "A dataset of source nnunet",
    "InnereyeDataset": "A dataset of source innereye",
    "FolderDataset": "A dataset of source folder",
    "FolderLabels": "labels of a folder",
    "ModelConfig": "A model",
    "ChecksConfig": "checks",
    "SplitsConfig": "splits",
    "Institutions": "institutions",
    "PreprocessingConfig": "preprocessing",
    "ZScore": "normalisation z_score",
    "CtWindow": "normalisation ct_window",
    "PercentileRange": "normalisation percentile",
    "NetworkConfig": "network",
    "TrainingConfig": "training",
    "AugmentationConfig": "augmentation",
    "InferenceConfig": "inference",
    "PostprocessingConfig": "postprocessing",
    "MetricsConfig": "metrics",
    "StatisticsConfig": "statistics",
    "FiguresConfig": "figures",
}

Schema = Mapping[str, Any]


def reference() -> str:
    """Return the page: the introduction, and a table of keys for every section."""
    schema = config_schema()
    sections = {"Config": schema, **schema["$defs"]}
    # The schema lets a model leave out what it inherits; a whole one needs these.
    sections["ModelConfig"]["required"] = ModelConfig.model_json_schema()["required"]
    lines = INTRODUCTION.read_text(encoding="utf-8").splitlines()
    for name, heading in HEADINGS.items():
        lines += ["", f"### {heading}", "", sections[name]["description"], ""]
        lines += _table(sections[name])
    return "\n".join(lines) + "\n"


def write_reference(path: Path = REFERENCE) -> None:
    """Write the page."""
    with atomic_path(path) as temporary:
        temporary.write_text(reference(), encoding="utf-8")


def _table(section: Schema) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in section["properties"].items():
        meaning = field.get("description", "").replace("\n", " ")
        default = _default(key, field, section.get("required", ()))
        yield f"| `{key}` | {_kind(field)} | {default} | {meaning} |"


def _default(key: str, field: Schema, required: Any) -> str:
    if key in required:
        return "required"
    if "default" not in field or "$ref" in field:  # a section's defaults stand in its own table
        return ""
    text = yaml.safe_dump(
        field["default"], default_flow_style=True, sort_keys=False, width=float("inf")
    )
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _kind(field: Schema) -> str:
    """Say in words what a value may be."""
    if "$ref" in field:
        heading = HEADINGS[field["$ref"].rpartition("/")[2]]
        return f"[{heading}](#{heading.lower().replace(' ', '-')})"
    if alternatives := field.get("anyOf", field.get("oneOf")):
        return " or ".join(map(_kind, alternatives))
    if values := field.get("enum", [field["const"]] if "const" in field else []):
        return " or ".join(f"`{value}`" for value in values)
    if "prefixItems" in field:
        return f"[{', '.join(map(_kind, field['prefixItems']))}]"
    match field.get("type"):
        case "array":
            return f"list of {_kind(field['items'])}"
        case "object":
            return f"mapping of names to {_kind(field['additionalProperties'])}"
        case "null":
            return "`null`"
        case kind:
            return " ".join([{"string": "text"}.get(kind, kind), *_bounds(field)])


def _bounds(field: Schema) -> Iterator[str]:
    for keyword, sign in (
        ("exclusiveMinimum", ">"),
        ("minimum", "≥"),
        ("exclusiveMaximum", "<"),
        ("maximum", "≤"),
    ):
        if keyword in field:
            yield f"{sign} {field[keyword]:g}"


if __name__ == "__main__":
    write_reference()
