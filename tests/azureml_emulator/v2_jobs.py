"""Jobs as azure-ai-ml submits, reads, lists and cancels them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from azureml_emulator.arm_api import system_data
from azureml_emulator.routing import WORKSPACE, ApiError, Request, Response, Routes
from azureml_emulator.service import Service
from azureml_emulator.state import SERVERLESS, Job, Mount, Workspace
from azureml_emulator.storage import BLOBSTORE, Location

PAGE_SIZE = 100
FIXED = ("command", "computeId", "environmentId", "environmentVariables", "inputs", "outputs")
JOBS = WORKSPACE + "/jobs"
JOB = JOBS + "/{job}"
EXPRESSION = re.compile(r"\$\{\{\s*(inputs|outputs)\.(\w+)\s*\}\}")

routes = Routes()


@routes.on("PUT", JOB)
def submit(service: Service, request: Request) -> Response:
    """Submit a job; of one that there is already by that name, only labels can be changed."""
    workspace = service.workspace(request)
    parsed = parse_job(workspace, request.parameters["job"], request.json.get("properties") or {})
    with workspace.lock:
        job = workspace.add_job(parsed)
        if job is parsed:
            service.cluster.submit(workspace, job)
            return Response(HTTPStatus.CREATED, job_resource(service, workspace, job))
    for fixed in FIXED:
        if job.definition.get(fixed) != parsed.definition.get(fixed):
            raise _refused(f"A job with this name already exists, and its {fixed} cannot change.")
    job.tags = parsed.tags
    job.display_name = parsed.display_name
    return Response(content=job_resource(service, workspace, job))


@routes.on("GET", JOB)
def get(service: Service, request: Request) -> Response:
    """One job."""
    job = service.job(request)
    return Response(content=job_resource(service, service.workspace(request), job))


@routes.on("GET", JOBS)
def list_jobs(service: Service, request: Request) -> Response:
    """The jobs, newest first, a hundred a page; `tag` is a key, as Azure documents it."""
    workspace = service.workspace(request)
    query = request.query
    jobs = [job for job in workspace.newest_jobs() if _fits(job, query)]
    # The token is a job's number: jobs that are submitted meanwhile move no other across pages.
    if token := query.get("skip"):
        jobs = [job for job in jobs if job.number < int(token)]
    page = jobs[:PAGE_SIZE]
    answer: dict[str, Any] = {"value": [job_resource(service, workspace, job) for job in page]}
    if len(page) < len(jobs):
        kept = {name: text for name, text in query.items() if name != "skip"}
        more = urlencode({**kept, "$skip": page[-1].number}, safe="$")
        answer["nextLink"] = f"{service.url}{workspace.path}/jobs?{more}"
    return Response(content=answer)


@routes.on("POST", JOB + "/cancel")
def cancel(service: Service, request: Request) -> Response:
    """Begin to cancel a job; the answer says where to ask whether it has ended."""
    job = service.job(request)
    service.cluster.cancel(job)
    return _still_canceling(service, service.workspace(request), job)


@routes.on("GET", JOB + "/cancelstatus")
def cancel_status(service: Service, request: Request) -> Response:
    """Whether a job that is being canceled has ended."""
    job = service.job(request)
    if job.is_over:
        return Response(content={})
    return _still_canceling(service, service.workspace(request), job)


def parse_job(workspace: Workspace, name: str, properties: dict[str, Any]) -> Job:
    """A job from its definition.

    Raises
    ------
    ApiError
        The job is of another type, names an unknown cluster, environment or datastore, or its
        command refers to an input or output that it does not have (status 400).
    """
    if properties.get("jobType") != "Command":
        raise _refused(f"The emulator runs command jobs, not {properties.get('jobType')!r}")
    compute = (properties.get("computeId") or SERVERLESS).rsplit("/", 1)[-1]
    if compute not in workspace.computes:
        raise _refused(f"The compute {compute!r} was not found.")
    _require_environment(workspace, properties.get("environmentId"))
    literals, mounts = _bindings(workspace, name, properties)
    job = Job(
        name=name,
        command=_resolve(properties["command"], literals, mounts),
        experiment=properties.get("experimentName") or "Default",
        compute=compute,
        definition=properties,
        display_name=properties.get("displayName") or "",
        description=properties.get("description") or "",
        environment_variables=dict(properties.get("environmentVariables") or {}),
        tags=dict(properties.get("tags") or {}),
        properties=dict(properties.get("properties") or {}),
        mounts=tuple(mounts),
        code=_code(workspace, properties.get("codeId")),
        nodes=int((properties.get("resources") or {}).get("instanceCount") or 1),
        timeout_s=seconds_of((properties.get("limits") or {}).get("timeout")),
    )
    if job.nodes > workspace.computes[compute].max_nodes:
        raise _refused(f"{job.nodes} nodes are more than the compute {compute!r} has.")
    return job


def job_resource(service: Service, workspace: Workspace, job: Job) -> dict[str, Any]:
    """A job as Azure describes it, whichever SDK submitted it."""
    described = job.definition if job.sdk == "v2" else _described(workspace, job)
    studio = f"{service.url}/runs/{job.name}?wsid={workspace.path}"
    tracking = f"azureml://localhost/mlflow/v1.0{workspace.path}"
    return {
        "id": f"{workspace.path}/jobs/{job.name}",
        "name": job.name,
        "type": "Microsoft.MachineLearningServices/workspaces/jobs",
        "systemData": system_data() | {"createdAt": job.created},
        "properties": {
            **described,
            "status": job.status,
            "experimentName": job.experiment,
            "displayName": job.display_name,
            "tags": job.tags,
            "properties": job.properties,
            "services": {
                **(described.get("services") or {}),
                "Studio": {"jobServiceType": "Studio", "endpoint": studio},
                "Tracking": {"jobServiceType": "Tracking", "endpoint": tracking},
            },
        },
    }


def seconds_of(duration: str | None) -> float | None:
    """Seconds of a duration such as `P1DT2H3M4.5S`.

    Raises
    ------
    ApiError
        It is not a duration (status 400).
    """
    if not duration:
        return None
    match = re.fullmatch(
        r"P(?:([\d.]+)D)?(?:T(?:([\d.]+)H)?(?:([\d.]+)M)?(?:([\d.]+)S)?)?", duration
    )
    if not match:
        raise _refused(f"{duration!r} is not a duration.")
    factors = (86400, 3600, 60, 1)
    return sum(
        float(number) * factor
        for number, factor in zip(match.groups(), factors, strict=True)
        if number
    )


def _refused(message: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message, code="UserError")


def _fits(job: Job, query: Any) -> bool:
    if query.get("jobType") not in (None, "Command"):
        return False
    if query.get("tag") and query["tag"] not in job.tags:
        return False
    for wanted in filter(None, (query.get("properties") or "").split(",")):
        name, has_value, text = wanted.partition("=")
        if name not in job.properties or (has_value and job.properties[name] != text):
            return False
    return True


def _still_canceling(service: Service, workspace: Workspace, job: Job) -> Response:
    status = f"{service.url}{workspace.path}/jobs/{job.name}/cancelstatus?api-version=2023-04-01"
    return Response(HTTPStatus.ACCEPTED, None, {"Location": status, "Retry-After": "1"})


def _require_environment(workspace: Workspace, identity: str | None) -> None:
    match = re.search(r"/environments/([^/]+)/versions/([^/]+)", identity or "")
    is_elsewhere = (identity or "").startswith("azureml://registries/")
    if match and not is_elsewhere and match.groups() not in workspace.assets["environments"]:
        raise _refused(f"The environment {match[1]}:{match[2]} was not found.")


def _bindings(
    workspace: Workspace, job_name: str, properties: dict[str, Any]
) -> tuple[dict[str, str], list[Mount]]:
    """The inputs that are values, and the inputs and outputs that are folders or files."""
    literals: dict[str, str] = {}
    mounts = []
    for name, item in (properties.get("inputs") or {}).items():
        if item.get("jobInputType") == "literal":
            literals[name] = str(item["value"])
        else:
            if item.get("jobInputType") != "uri_folder":
                raise _refused(f"The emulator mounts folders, not {item.get('jobInputType')!r}")
            mounts.append(Mount(name, _location(workspace, item["uri"]), "inputs"))
    for name, item in (properties.get("outputs") or {}).items():
        default = Location(BLOBSTORE, f"azureml/{job_name}/{name}")
        location = _location(workspace, item["uri"]) if item.get("uri") else default
        is_mounted = item.get("mode") in (None, "ReadWriteMount")
        mounts.append(Mount(name, location, "outputs", is_read=is_mounted, is_written=True))
    return literals, mounts


def _location(workspace: Workspace, uri: str) -> Location:
    asset = re.search(r"/data/([^/]+)/versions/([^/]+)$", uri)
    data = workspace.assets["data"].get((asset[1], asset[2])) if asset else None
    try:
        location = Location.parse(data["properties"]["dataUri"] if data else uri)
    except ValueError as error:
        raise _refused(f"{error}: the emulator mounts nothing else") from None
    if location.datastore not in workspace.storage.containers:
        raise _refused(f"The datastore {location.datastore!r} was not found.")
    return location


def _resolve(command: str, literals: dict[str, str], mounts: Iterable[Mount]) -> str:
    names = {(mount.side, mount.name) for mount in mounts}

    def value(match: re.Match[str]) -> str:
        side, name = match.groups()
        if side == "inputs" and name in literals:
            return literals[name]
        if (side, name) not in names:
            raise _refused(f"The command refers to {match[0]}, which the job does not have.")
        return match[0]

    resolved = EXPRESSION.sub(value, command)
    for expression in re.findall(r"\$\{\{.*?\}\}", resolved):
        if not EXPRESSION.match(expression):
            raise _refused(f"The command has {expression}, which AzureML takes for its own.")
    return resolved


def _code(workspace: Workspace, identity: str | None) -> Location | None:
    if not identity:
        return None
    match = re.search(r"/codes/([^/]+)/versions/([^/]+)", identity)
    code = workspace.assets["codes"].get((match[1], match[2])) if match else None
    if code is None:
        raise _refused(f"The code {identity!r} was not found.")
    return workspace.storage.location(code["properties"]["codeUri"])


def _described(workspace: Workspace, job: Job) -> dict[str, Any]:
    """What azure-ai-ml sees of a job that azureml-core submitted."""
    return {
        "jobType": "Command",
        "command": job.command,
        "computeId": f"{workspace.path}/computes/{job.compute}",
        "environmentId": f"{workspace.path}/environments/azureml-core/versions/1",
        "environmentVariables": job.environment_variables,
        "description": job.description,
        "resources": {"instanceCount": job.nodes},
    }
