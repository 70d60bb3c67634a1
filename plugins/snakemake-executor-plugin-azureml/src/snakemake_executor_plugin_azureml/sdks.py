"""What both SDKs need to be kept from: chatter on the terminal and traces in the environment."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = (
    "azure",
    "azureml",
    "msal",
    "msrest",
    "urllib3",  # its debug lines hold addresses with signatures
)


_NOISE = (
    "azure.ai.ml._schema.core.fields",  # calls every field experimental that has been so for years
    "azure.ai.ml._telemetry",  # repeats every error that is raised anyway
    "azure.ai.ml._utils._experimental",
    "azure.identity",
    "azureml.core.environment",
)


def quiet() -> None:
    """Keep the SDKs from announcing deprecations and experiments of their own making."""
    for package in (r"azure\..*", r"azureml\..*", r"marshmallow\..*", r"msrest\..*"):
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category, module=package)
    for name in _CHATTER:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _NOISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def unchanged_environment(*names: str) -> Iterator[None]:
    """Put environment variables back after the block.

    azure-ai-ml writes AZUREML_CURRENT_CLOUD, which azureml-core and every child process would read.
    """
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
