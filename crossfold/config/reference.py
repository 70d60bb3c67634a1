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
    "Config": "config.yaml",
    "PhantomDataset": "phantom dataset",
    "DecathlonDataset": "decathlon dataset",
    "NnunetDataset": "nnunet dataset",
    "InnereyeDataset": "innereye dataset",
    "FolderDataset": "folder dataset",
    "FolderLabels": "folder labels",
    "DicomDataset": "dicom dataset",
    "DvcDataset": "dvc dataset",
    "DatasetRevision": "dataset revision",
    "ModelConfig": "model",
    "ChecksConfig": "checks",
    "SplitsConfig": "splits",
    "Institutions": "institutions",
    "FunctionOptions": "split function",
    "BudgetConfig": "budget",
    "PreprocessingConfig": "preprocessing",
    "ZScore": "z_score",
    "CtWindow": "ct_window",
    "PercentileRange": "percentile",
    "MriWindow": "mri_window",
    "TrimmedRange": "trimmed",
    "Unchanged": "unchanged",
    "NetworkConfig": "network",
    "InitFrom": "init_from",
    "TrainingConfig": "training",
    "SoftDice": "soft_dice",
    "SquaredDice": "squared_dice",
    "CrossEntropy": "cross_entropy",
    "Focal": "focal",
    "ImportedLoss": "imported loss",
    "OneCycle": "one_cycle",
    "Polynomial": "polynomial",
    "Cosine": "cosine",
    "Steps": "step",
    "MultiStep": "multi_step",
    "Exponential": "exponential",
    "Constant": "constant",
    "WarmupConfig": "warmup",
    "AdamW": "adamw",
    "Adam": "adam",
    "Sgd": "sgd",
    "RmsProp": "rmsprop",
    "CheckpointsConfig": "checkpoints",
    "SamplingConfig": "sampling",
    "AugmentationConfig": "augmentation",
    "Mirror": "mirror",
    "Affine": "affine",
    "Elastic": "elastic",
    "BiasField": "bias_field",
    "Gamma": "gamma",
    "Intensity": "intensity",
    "Noise": "noise",
    "Blur": "blur",
    "LowResolution": "low_resolution",
    "ImportedTransform": "transform of your own",
    "InferenceConfig": "inference",
    "PostprocessingConfig": "postprocessing",
    "SearchConfig": "search",
    "Space": "search space",
    "PruneConfig": "prune",
    "SummedProbability": "summed probability",
    "SliceExclusion": "slice exclusion",
    "MetricsConfig": "metrics",
    "OutliersConfig": "outliers",
    "PublishConfig": "publish",
    "HooksConfig": "hooks",
    "DiagnosticsConfig": "diagnostics",
    "StatisticsConfig": "statistics",
    "ComparedRun": "compared run",
    "FiguresConfig": "figures",
    "RegistryConfig": "registry",
}

SIGNS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
YAML_END = "...\n"

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
    required = section.get("required", ())
    for key, field in sorted(
        section["properties"].items(), key=lambda item: item[0] not in required
    ):
        default = "required" if key in required else _default(field)
        meaning = field.get("description", "").replace("\n", " ").replace("<", "&lt;")
        yield f"| `{key}` | {_kind(field)} | {default} | {meaning} |"


def _default(field: Schema) -> str:
    if "default" not in field or "$ref" in field:  # a section's defaults stand in its own table
        return ""
    text = yaml.safe_dump(field["default"], default_flow_style=True, sort_keys=False, width=1000)
    return f"`{text.removesuffix(YAML_END).strip()}`"


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
        kinds = [_kind(item) for item in field["prefixItems"]]
        return f"{len(kinds)} × {kinds[0]}" if len({*kinds}) == 1 else f"[{', '.join(kinds)}]"
    match field.get("type"):
        case "array":
            return f"list of {_one_of(field['items'])}"
        case "object":
            return f"names: {_one_of(field['additionalProperties'])}"
        case "null":
            return "`null`"
        case None:
            return "anything"
        case kind:
            bounds = [f"{sign} {field[word]:g}" for word, sign in SIGNS.items() if word in field]
            return f"{'text' if kind == 'string' else kind} {' and '.join(bounds)}".strip()


def _one_of(field: Schema) -> str:
    kind = _kind(field)
    return f"({kind})" if " or " in kind else kind


if __name__ == "__main__":
    write_reference()
