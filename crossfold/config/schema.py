"""JSON schema of config.yaml for editors: `python -m crossfold.config.schema` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossfold.config.models import ModelConfig
from crossfold.config.root import Config
from crossfold.config.search import SearchConfig, Space
from crossfold.images import atomic_path

SCHEMA = Path(__file__).parents[2] / "schema" / "config.schema.json"

_OF_EVERY_MODEL = {
    "abstract": {
        "type": "boolean",
        "default": False,
        "description": "A part of a configuration for others to inherit; has no results.",
    },
    "base": {
        "type": "string",
        "description": "Model whose configuration this one starts from, or one that comes with "
        "Crossfold, such as innereye.ProstateBase.",
    },
}


def config_schema() -> dict[str, Any]:
    """Return the schema of config.yaml, in which a model may be partial and inherit the rest."""
    schema = Config.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "config.yaml of Crossfold"
    model = schema["$defs"][ModelConfig.__name__]
    model.pop("required")
    model["properties"] = _OF_EVERY_MODEL | model["properties"]
    # Parameters may stand beside the other keys of a search.
    search = schema["$defs"][SearchConfig.__name__]
    search.pop("required")
    search["additionalProperties"] = {"$ref": f"#/$defs/{Space.__name__}"}
    return schema


def write_schema(path: Path = SCHEMA) -> None:
    """Write the schema."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(config_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schema()
