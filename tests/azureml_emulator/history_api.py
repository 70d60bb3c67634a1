"""Run history: states and logs of runs, for both SDKs."""

from __future__ import annotations

from typing import Any

from azureml_emulator.artifacts_api import artifact_paths
from azureml_emulator.routing import WORKSPACE, Request, Response, Routes
from azureml_emulator.service import Service
from azureml_emulator.state import Job, Workspace

HISTORY = "/history/v1.0" + WORKSPACE
# A run is found below its experiment's name, its experiment's identity, or by itself.
RUN = HISTORY + "{parent:(?:/experiments/[^/]+|/experimentids/[^/]+)?}/runs/{job:[^/:]+}"
CANCEL_EVENT = "Microsoft.MachineLearning.Run.Canceled"

routes = Routes()


@routes.on("GET", RUN)
def run(service: Service, request: Request) -> Response:
    """One run."""
    return Response(content=run_resource(service.workspace(request), service.job(request)))


@routes.on("PATCH", RUN)
def update_run(service: Service, request: Request) -> Response:
    """Change tags, properties or the displayed name."""
    job = service.job(request)
    changes = request.json
    job.tags.update(changes.get("tags") or {})
    job.properties.update(changes.get("properties") or {})
    job.display_name = changes.get("displayName") or job.display_name
    return Response(content=run_resource(service.workspace(request), job))


@routes.on("GET", RUN + "/details")
def details(service: Service, request: Request) -> Response:
    """One run, with the addresses of its logs, which exist while it runs."""
    workspace, job = service.workspace(request), service.job(request)
    logs = {
        path: workspace.storage.url(job.artifacts / path)
        for path in artifact_paths(workspace, job.artifacts)
        if path.startswith(("user_logs/", "logs/"))
    }
    extra = {"logFiles": logs, "runDefinition": job.definition if job.sdk == "v1" else None}
    return Response(content=run_resource(workspace, job) | extra)


@routes.on("POST", RUN + "/events")
def event(service: Service, request: Request) -> Response:
    """What azureml-core reports of a run; that it was canceled is how it cancels one."""
    job = service.job(request)
    if request.json.get("name") == CANCEL_EVENT:
        service.cluster.cancel(job)
    return Response(content={})


@routes.on("GET", RUN + "/metricsingest/wait")
def metrics_are_in(_service: Service, _request: Request) -> Response:
    """Whether all metrics have arrived: the emulator keeps none."""
    return Response(content={})


@routes.on("POST", HISTORY + "/rundata")
def run_data(service: Service, request: Request) -> Response:
    """One run with its named outputs, which azure-ai-ml asks for before it downloads."""
    request.parameters["job"] = request.json["runId"]
    job = service.job(request)
    outputs = {
        mount.name: {"assetId": None, "type": "UriFolder"}
        for mount in job.mounts
        if mount.side == "outputs"
    }
    metadata = run_resource(service.workspace(request), job) | {"outputs": outputs}
    return Response(
        content={
            "runMetadata": metadata,
            **dict.fromkeys(("runDefinition", "jobSpecification", "systemSettings")),
        }
    )


def run_resource(workspace: Workspace, job: Job) -> dict[str, Any]:
    """A run as the history describes it."""
    error = {"error": {"code": "UserError", "message": job.error, "details": []}}
    return {
        "runId": job.name,
        "rootRunId": job.name,
        "parentRunId": None,
        "runNumber": job.number,
        "experimentId": workspace.experiment_identity(job.experiment),
        "experimentName": job.experiment,
        "displayName": job.display_name,
        "description": job.description,
        "status": job.status,
        "createdUtc": job.created,
        "startTimeUtc": job.started,
        "endTimeUtc": job.ended,
        "dataContainerId": f"dcid.{job.name}",
        "error": error if job.error else None,
        "tags": job.tags,
        "properties": job.properties,
        "target": job.compute,
        "runType": "azureml.scriptrun",
        "userId": "emulator",
        "hidden": False,
        "inputs": {},
        "outputs": {},
        "options": {"generateDataContainerIdIfNotSpecified": True},
        "services": {},
        "warnings": [],
        "inputDatasets": [],
        "outputDatasets": [],
    }
