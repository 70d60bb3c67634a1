"""What every handler of a request can reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azureml_emulator.faults import Faults
from azureml_emulator.routing import Request, not_found
from azureml_emulator.state import Job, Workspace

if TYPE_CHECKING:
    from azureml_emulator.cluster import Cluster


@dataclass
class Service:
    """The parts of a running emulator."""

    url: str
    cloud: str
    workspaces: list[Workspace]
    cluster: Cluster
    faults: Faults

    def workspace(self, request: Request) -> Workspace:
        """The workspace that a request is about.

        Raises
        ------
        ApiError
            There is no such workspace (status 404).
        """
        wanted = tuple(request.parameters[name] for name in ("subscription", "group", "workspace"))
        for workspace in self.workspaces:
            if wanted == (workspace.subscription_id, workspace.resource_group, workspace.name):
                return workspace
        raise not_found(f"The workspace {wanted[2]!r} in resource group {wanted[1]!r}")

    def job(self, request: Request) -> Job:
        """The job that a request is about.

        Raises
        ------
        ApiError
            There is no such workspace, or no such job in it (status 404).
        """
        name = request.parameters["job"]
        try:
            return self.workspace(request).jobs[name]
        except KeyError:
            raise not_found(f"The job {name!r}") from None
