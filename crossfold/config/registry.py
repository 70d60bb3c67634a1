"""`registry:` of config.yaml: where bundles are registered."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from crossfold.config.base import Section
from crossfold.config.datasets import expand_variables


class RegistryConfig(Section):
    """Where bundles get a name and a version that others can ask for."""

    kind: Literal["auto", "folder", "azureml"] = "auto"
    """`folder`, or the models of an AzureML workspace; `auto`: AzureML where a workspace is
    configured and the executor plugin is installed, and the folder elsewhere."""
    path: str = "registry"
    """The folder, from the checkout or absolute; variables such as $GROUP are filled in. A group
    shares one on a file server."""

    def folder(self, root: Path = Path()) -> Path:
        """Return the folder, as seen from a checkout.

        Raises
        ------
        CrossfoldError
            If it names a variable that is not set.
        """
        return root / expand_variables(self.path, "registry.path")
