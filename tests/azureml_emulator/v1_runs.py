"""Runs as azureml-core submits, lists and cancels them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from azureml_emulator.history_api import HISTORY, RUN, run_resource
from azureml_emulator.routing import WORKSPACE, ApiError, Request, Response, Routes, not_found
from azureml_emulator.service import Service
from azureml_emulator.state import Job, Mount, Workspace, timestamp
from azureml_emulator.storage import Location

EXECUTION = "/execution/v1.0" + WORKSPACE
PAGE_SIZE = 500
TOKEN = re.compile(r"""[\w/.-]+ (?:eq|ne) (?:"[^"]*"|'[^']*'|[^\s()]+)|[()]|and|or""")
Predicate = Callable[[dict[str, Any]], bool]

routes = Routes()


@routes.on("POST", EXECUTION + "/experiments/{experiment}/{what:snapshotrun|run}")
def submit(service: Service, request: Request) -> Response:
    """Submit a run, under the name that the caller wants."""
    workspace = service.workspace(request)
    experiment = request.parameters["experiment"]
    name = request.query.get("runId") or f"{experiment}_{uuid.uuid4().hex[:12]}"
    parsed = parse_run(workspace, name, experiment, request.json)
    with workspace.lock:
        if name in workspace.jobs:
            raise ApiError(HTTPStatus.CONFLICT, f"The run {name!r} exists.", code="UserError")
        service.cluster.submit(workspace, workspace.add_job(parsed))
    return Response(content={"runId": name})


@routes.on(
    "POST", EXECUTION + "/{parent:experiments|experimentids}/{experiment}/runId/{job}/cancel"
)
def cancel(service: Service, request: Request) -> Response:
    """Begin to cancel a run."""
    service.cluster.cancel(service.job(request))
    return Response(content={})


@routes.on("POST", HISTORY + "/{parent:experiments|experimentids}/{experiment}/runs:query")
def query(service: Service, request: Request) -> Response:
    """The runs of an experiment that fit a filter, newest first, page by page."""
    workspace = service.workspace(request)
    wanted = request.parameters["experiment"]
    parameters = request.json
    runs = [
        run_resource(workspace, job)
        for job in workspace.newest_jobs()
        if wanted in (job.experiment, workspace.experiment_identity(job.experiment))
    ]
    runs = list(filter(parse_filter(parameters.get("filter") or ""), runs))
    start = int(parameters.get("continuationToken") or 0)
    end = start + min(int(parameters.get("top") or PAGE_SIZE), PAGE_SIZE)
    token = str(end) if end < len(runs) else None
    return Response(content={"value": runs[start:end], "continuationToken": token})


@routes.on("GET", HISTORY + "/experiments")
def experiments(service: Service, request: Request) -> Response:
    """The experiments that have runs."""
    workspace = service.workspace(request)
    names = dict.fromkeys(job.experiment for job in workspace.newest_jobs())
    return Response(content={"value": [_experiment(workspace, name) for name in names]})


@routes.on("POST", HISTORY + "/experiments:query")
def query_experiments(service: Service, request: Request) -> Response:
    """The experiments that have runs; the filter is not looked at."""
    return experiments(service, request)


@routes.on("GET", HISTORY + "/experiments/{experiment:[^/:]+}")
def experiment(service: Service, request: Request) -> Response:
    """One experiment; whoever asks for it makes it."""
    workspace = service.workspace(request)
    return Response(content=_experiment(workspace, request.parameters["experiment"]))


@routes.on("POST", HISTORY + "/experiments/{experiment:[^/:]+}")
def create_experiment(service: Service, request: Request) -> Response:
    """Create an experiment."""
    return experiment(service, request)


@routes.on("GET", HISTORY + "/experimentids/{experiment:[^/:]+}")
def experiment_by_identity(service: Service, request: Request) -> Response:
    """The experiment of this identity."""
    workspace = service.workspace(request)
    for job in workspace.newest_jobs():
        if workspace.experiment_identity(job.experiment) == request.parameters["experiment"]:
            return Response(content=_experiment(workspace, job.experiment))
    raise not_found(f"The experiment {request.parameters['experiment']!r}")


@routes.on("GET", RUN + "/children")
def children(service: Service, request: Request) -> Response:
    """The children of a run: the emulator has none."""
    service.job(request)
    return Response(content={"value": [], "continuationToken": None})


def parse_run(workspace: Workspace, name: str, experiment_name: str, submitted: Any) -> Job:
    """A job from the definition of a run.

    Raises
    ------
    ApiError
        It names an unknown cluster or datastore (status 400).
    """
    configuration = submitted["Configuration"]
    compute = configuration.get("target")
    if compute not in workspace.computes:
        message = f"The compute {compute!r} was not found."
        raise ApiError(HTTPStatus.BAD_REQUEST, message, code="UserError")
    environment = configuration.get("environment") or {}
    snapshot = submitted.get("SnapshotId")
    return Job(
        name=name,
        command=_command(configuration),
        experiment=experiment_name,
        compute=compute,
        definition=configuration,
        display_name=configuration.get("displayName") or "",
        environment_variables={
            **(environment.get("environmentVariables") or {}),
            **(configuration.get("environmentVariables") or {}),
        },
        mounts=tuple(_mounts(workspace, configuration.get("dataReferences") or {})),
        code=workspace.snapshot(snapshot) if snapshot else None,
        nodes=int(configuration.get("nodeCount") or 1),
        timeout_s=configuration.get("maxRunDurationSeconds"),
        sdk="v1",
    )


def parse_filter(expression: str) -> Predicate:
    """What a filter such as `(Status eq Running) and (Tags/rule eq "train")` says of a run.

    Raises
    ------
    ApiError
        It has more than comparisons, `and`, `or` and parentheses (status 501).
    """
    tokens = TOKEN.findall(expression)
    if not tokens:
        return lambda _run: True
    is_understood = "".join(tokens).replace(" ", "") == expression.replace(" ", "")
    predicate = _parse_any(tokens) if is_understood else None
    if predicate is None or tokens:
        message = f"The emulator does not know the filter {expression!r}"
        raise ApiError(HTTPStatus.NOT_IMPLEMENTED, message, code="NotEmulated")
    return predicate


def _parse_any(tokens: list[str]) -> Predicate:
    parts = [_parse_all(tokens)]
    while tokens and tokens[0] == "or":
        tokens.pop(0)
        parts.append(_parse_all(tokens))
    return lambda run: any(part(run) for part in parts)


def _parse_all(tokens: list[str]) -> Predicate:
    parts = [_parse_one(tokens)]
    while tokens and tokens[0] == "and":
        tokens.pop(0)
        parts.append(_parse_one(tokens))
    return lambda run: all(part(run) for part in parts)


def _parse_one(tokens: list[str]) -> Predicate:
    token = tokens.pop(0)
    if token == "(":
        inner = _parse_any(tokens)
        tokens.pop(0)
        return inner
    name, operator, literal = token.split(" ", 2)
    field, _, key = (name[0].lower() + name[1:]).partition("/")

    def fits(run: dict[str, Any]) -> bool:
        value: Any = run.get(field)
        if key:
            # Nothing is true of a tag that a run does not have: azureml-core looks for the runs
            # that have it by `Tags/x ne null or Tags/x eq null`.
            if key not in value:
                return False
            value = value[key]
        is_equal = value is None if literal == "null" else str(value) == literal.strip("\"'")
        return is_equal == (operator == "eq")

    return fits


def _command(configuration: dict[str, Any]) -> str:
    command = configuration.get("command")
    if command:
        return command if isinstance(command, str) else " ".join(map(str, command))
    arguments = map(str, configuration.get("arguments") or [])
    return " ".join(["python", configuration["script"], *arguments])


def _mounts(workspace: Workspace, references: dict[str, Any]) -> Iterable[Mount]:
    for name, reference in references.items():
        datastore = reference["dataStoreName"]
        if datastore not in workspace.storage.containers:
            message = f"The datastore {datastore!r} was not found."
            raise ApiError(HTTPStatus.BAD_REQUEST, message, code="UserError")
        location = Location(datastore, (reference.get("pathOnDataStore") or "").strip("/"))
        mode = (reference.get("mode") or "mount").lower()
        yield Mount(
            name, location, "inputs", is_read=mode != "upload", is_written=mode != "download"
        )


def _experiment(workspace: Workspace, name: str) -> dict[str, Any]:
    return {
        "experimentId": workspace.experiment_identity(name),
        "name": name,
        "createdUtc": timestamp(),
        "description": "",
        "tags": {},
        "archivedTime": None,
        "latestCreatedRun": None,
    }
