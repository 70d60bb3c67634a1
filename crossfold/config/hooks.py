"""`hooks:` of a model: functions of a site's own that are called on the way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from crossfold.config.base import Section, importable

Hook = Literal["post_cross_validation", "model_deployment"]


class HooksConfig(Section):
    """Functions of your own, by import path such as my_lab.hooks:notify."""

    post_cross_validation: Annotated[str, AfterValidator(importable)] | None = None
    """Called as `notify(config, folder)` when everything of the model is made, with its
    configuration and the folder of its results; what it prints is kept."""
    model_deployment: Annotated[str, AfterValidator(importable)] | None = None
    """Called as `deploy(registered)` when the model's bundle is registered, with its `name`,
    `version`, `path`, `description` and `tags`; what it prints is kept."""
