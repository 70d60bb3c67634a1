"""What tests in other processes tell the emulator: faults, clusters, and what it knows."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from azureml_emulator.faults import Fault
from azureml_emulator.routing import ApiError, Request, Response, Routes
from azureml_emulator.service import Service
from azureml_emulator.state import Compute, Job

SUMMARY = (
    "name",
    "experiment",
    "compute",
    "status",
    "statuses",
    "command",
    "environment_variables",
    "tags",
    "error",
    "exit_codes",
    "logs",
    "created",
    "started",
    "ended",
)

routes = Routes()


@routes.on("POST", "/emulator/faults")
def add_fault(service: Service, request: Request) -> Response:
    """Let a fault happen, or several."""
    items = request.json if isinstance(request.json, list) else [request.json]
    for fault in [Fault.parse(item) for item in items]:
        service.faults.add(fault)
    return Response(HTTPStatus.CREATED, service.faults.as_json())


@routes.on("GET", "/emulator/faults")
def faults(service: Service, _request: Request) -> Response:
    """The faults, and how often each was used."""
    return Response(content=service.faults.as_json())


@routes.on("DELETE", "/emulator/faults")
def clear_faults(service: Service, _request: Request) -> Response:
    """Forget all faults."""
    service.faults.clear()
    return Response(content=[])


@routes.on("PUT", "/emulator/computes/{compute}")
def add_compute(service: Service, request: Request) -> Response:
    """Add a cluster to all workspaces, or change one."""
    try:
        compute = Compute(**{"name": request.parameters["compute"], **request.json})
    except TypeError as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, str(error)) from None
    for workspace in service.workspaces:
        workspace.add_compute(compute)
    return Response(HTTPStatus.CREATED, {})


@routes.on("GET", "/emulator/jobs")
def jobs(service: Service, _request: Request) -> Response:
    """All jobs, oldest first, with their statuses, exit codes and logs."""
    found = [job for workspace in service.workspaces for job in workspace.jobs.values()]
    return Response(content=[job_summary(job) for job in found])


def job_summary(job: Job) -> dict[str, Any]:
    """What tests want to know of a job."""
    return {name: getattr(job, name) for name in SUMMARY}
