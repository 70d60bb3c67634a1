"""One pydantic model per section of config.yaml: the single source of truth."""
