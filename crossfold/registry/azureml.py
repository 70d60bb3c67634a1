"""The models of an AzureML workspace, through the executor plugin where it is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from crossfold.registry.folder import BUNDLE, FolderRegistry
from crossfold.registry.registered import Models, Reference, Registered, now, require_number
from crossfold.registry.workspace import PROFILE, Connection

_DIGEST = "digest"
# Tags of one version are changed at once, those of two are not: the last one marked is meant.
_MARKED = "current_since"
_ATTEMPTS = 5


class AzureRegistry:
    """Models in an AzureML workspace; only those that Crossfold has registered.

    Parameters
    ----------
    profile, sdk
        As for `Connection`, whose errors it raises.
    """

    def __init__(self, profile: Path = PROFILE, sdk: str = "") -> None:
        self._connection = Connection(profile, sdk, otherwise="set `registry: {kind: folder}`")
        self._client, self._readable = self._connection.client, self._connection.readable
        names = ("subscription_id", "resource_group", "workspace_name")
        settings = {name: getattr(self._connection.settings, name) for name in names}
        workspace = self._connection.module("workspace").find_workspace(**settings)
        self.shown = f"AzureML {workspace.workspace_name}"

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
                except self._connection.refusal:
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
        marks = sorted((model.tags.get(_MARKED, ""), model.name, model.version) for model in found)
        current = {name: version for since, name, version in marks if since}
        registered = [self._registered(model, current) for model in found]
        return Models(sorted(registered, key=lambda one: (one.name, one.version)), (), current)

    def find(self, reference: Reference) -> Registered:
        """Return the version that is meant.

        Raises
        ------
        CrossfoldError
            If it is not there, or the workspace refuses.
        """
        found = self.models(reference.name)
        # Of a name that nobody bears, the error names those that there are.
        return (found if found.all else self.models()).find(reference, self.shown)

    def mark_current(self, reference: Reference) -> Registered:
        """Mark a version as the current one of its model, instead of any other.

        Raises
        ------
        CrossfoldError
            If it is not there, or the workspace refuses.
        """
        there = self.models(require_number(reference).name)
        found = there.find(reference, self.shown)
        since = datetime.now(UTC)
        if before := max(one.marked for one in there.registered):
            # Clocks differ: what was marked last has to bear the latest time.
            since = max(since, datetime.fromisoformat(before) + timedelta(microseconds=1))
        with self._readable():
            self._client.tag_model(found.id, {_MARKED: since.isoformat()})
        return replace(found, current=True, marked=since.isoformat())

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
            marked=model.tags.get(_MARKED, ""),
        )


def _same(there: Models, digest: str) -> Registered | None:
    return next((one for one in there.registered if one.digest == digest), None)
