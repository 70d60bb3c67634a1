"""The models of an AzureML workspace, through the executor plugin where it is installed."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from crossfold.registry.folder import BUNDLE, FolderRegistry
from crossfold.registry.registered import Models, Reference, Registered, now, require_number

PLUGIN = "snakemake_executor_plugin_azureml"
"""Imported by name at run time: Crossfold runs without Azure."""

PROFILE = Path("azureml")
"""Folder of the Snakemake profile whose settings name the workspace."""

_DIGEST = "digest"
# Tags of one version are changed at once, those of two are not: the last one marked is meant.
_MARKED = "current_since"
_ATTEMPTS = 5


class NoWorkspaceError(CrossfoldError):
    """There is no plugin, or nothing says which workspace is meant."""


class AzureRegistry:
    """Models in an AzureML workspace; only those that Crossfold has registered.

    Parameters
    ----------
    profile
        Folder of the Snakemake profile; its settings count where it exists.
    sdk
        v2 or v1; empty: what the profile says.

    Raises
    ------
    NoWorkspaceError
        If the plugin is not installed, or no workspace is configured.
    CrossfoldError
        If a workspace is configured in part.
    """

    def __init__(self, profile: Path = PROFILE, sdk: str = "") -> None:
        runs, workspace = _module("runs"), _module("workspace")
        self._refusal = runs.WorkflowError
        file = profile / "profile.yaml"
        with self._readable():
            try:
                settings = runs.read_settings(file if file.is_file() else None, sdk=sdk)
                names = {
                    name: getattr(settings, name)
                    for name in ("subscription_id", "resource_group", "workspace_name")
                }
                self.shown = f"AzureML {workspace.find_workspace(**names).workspace_name}"
                self._client = runs.open_client(settings)
            except workspace.NoWorkspaceError as error:
                remedy = "do that, or set `registry: {kind: folder}`"
                raise NoWorkspaceError(str(error), remedy=remedy) from error

    def register(self, bundle: BundleFiles, facts: Facts) -> Registered:
        """Upload a bundle as the next version, unless it is there already.

        Raises
        ------
        CrossfoldError
            If the bundle is not whole, or the workspace refuses.
        """
        tags = {**facts.tags, _DIGEST: bundle.digest}
        there = self.models(facts.name)
        if known := _same(there, bundle.digest):
            return known
        with tempfile.TemporaryDirectory() as temporary, self._readable():
            # What hashes.json does not list stays here.
            copy = Path(temporary) / BUNDLE
            bundle.copy(copy)
            for left in reversed(range(_ATTEMPTS)):
                try:
                    identity = self._client.register_model(
                        facts.name, copy, tags=tags, description=facts.description
                    )
                    break
                except self._refusal:
                    # Two who register at the same moment are given the same number, and one of
                    # them is refused.
                    newest, there = there.newest, self.models(facts.name)
                    if there.newest == newest or not left:
                        raise
                    if known := _same(there, bundle.digest):
                        return known
        # Who registered the same bundle at the same moment gets the same answer.
        version = int(identity.rpartition(":")[2])
        registered = Registered(
            name=facts.name,
            version=version,
            digest=bundle.digest,
            registered=now(),
            description=facts.description,
            tags=facts.tags,
            kind="azureml",
            where=self.shown,
        )
        return _same(self.models(facts.name), bundle.digest) or registered

    def models(self, name: str = "") -> Models:
        """Return the versions of a model, or of all of them.

        Raises
        ------
        CrossfoldError
            If the workspace refuses or does not answer.
        """
        with self._readable():
            found = [model for model in self._client.list_models(name) if _DIGEST in model.tags]
        marks = sorted(
            (model.tags[_MARKED], model.name, model.version)
            for model in found
            if _MARKED in model.tags
        )
        current = {name: version for _, name, version in marks}
        registered = [self._registered(model, current) for model in found]
        return Models(sorted(registered, key=lambda one: (one.name, one.version)), (), current)

    def find(self, reference: Reference) -> Registered:
        """Return the version that is meant.

        Raises
        ------
        CrossfoldError
            If it is not there, or the workspace refuses.
        """
        return self.models(reference.name).find(reference, self.shown)

    def mark_current(self, reference: Reference) -> Registered:
        """Mark a version as the current one of its model, instead of any other.

        Raises
        ------
        CrossfoldError
            If it is not there, or the workspace refuses.
        """
        found = self.find(require_number(reference))
        with self._readable():
            self._client.tag_model(found.id, {_MARKED: datetime.now(UTC).isoformat()})
        return replace(found, current=True)

    def pull(self, reference: Reference, folder: FolderRegistry) -> Registered:
        """Bring a version to a folder, where it has the same number.

        Raises
        ------
        CrossfoldError
            If it is not there or damaged, or the folder has another bundle of that number.
        """
        found = self.find(reference)
        with tempfile.TemporaryDirectory() as temporary, self._readable():
            bundle = BundleFiles.read(self._client.download_model(found.id, Path(temporary)))
            if bundle.digest != found.digest:
                raise CrossfoldError(
                    f"{found.id} in {self.shown} is not the bundle that was registered",
                    remedy="register it again",
                )
            facts = Facts(found.name, found.description, found.tags)
            return folder.register(bundle, facts, version=found.version)

    def _registered(self, model: Any, current: Mapping[str, int]) -> Registered:
        created = model.created.isoformat(timespec="seconds") if model.created else ""
        own = {_DIGEST, _MARKED}
        return Registered(
            name=model.name,
            version=model.version,
            digest=model.tags[_DIGEST],
            registered=created,
            description=model.description,
            tags={key: value for key, value in model.tags.items() if key not in own},
            kind="azureml",
            where=self.shown,
            current=current.get(model.name) == model.version,
        )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except self._refusal as error:
            raise CrossfoldError(str(error)) from error


def _same(there: Models, digest: str) -> Registered | None:
    return next((one for one in there.registered if one.digest == digest), None)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"{PLUGIN}.{name}")
    except ModuleNotFoundError as error:
        raise NoWorkspaceError(
            f"Azure Machine Learning needs the package {error.name}, which is not installed",
            remedy="run `make setup-azureml`, or set `registry: {kind: folder}`",
        ) from error
