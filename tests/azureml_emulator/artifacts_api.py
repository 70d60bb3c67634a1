"""Artifacts: files that belong to a run ("ExperimentRun") or to a model ("LocalUpload")."""

from __future__ import annotations

from typing import Any

from azureml_emulator.routing import WORKSPACE, Request, Response, Routes, not_found
from azureml_emulator.service import Service
from azureml_emulator.state import Workspace
from azureml_emulator.storage import ARTIFACTSTORE, BLOBSTORE, Location

ARTIFACTS = "/artifact/v2.0" + WORKSPACE + "/artifacts"
FOLDER = "/{origin:ExperimentRun|LocalUpload}/{container}"

routes = Routes()


@routes.on("POST", ARTIFACTS + "/batch/metadata" + FOLDER)
def create(service: Service, request: Request) -> Response:
    """Where the files of a model that azureml-core registers may be uploaded to."""
    storage, folder = service.workspace(request).storage, _folder(request)
    paths = [item["path"] for item in request.json["paths"]]
    contents = {path: _content(folder, path, storage.upload_url(folder / path)) for path in paths}
    return Response(
        content={
            "artifacts": {path: _artifact(folder, path) for path in paths},
            "artifactContentInformation": contents,
            "errors": {},
        }
    )


@routes.on("GET", ARTIFACTS + "/contentinfo" + FOLDER + "/{file:path}")
def content(service: Service, request: Request) -> Response:
    """Where the content of one artifact is."""
    workspace, folder = service.workspace(request), _folder(request)
    path = request.parameters["file"]
    for name, url in _urls(workspace, folder, path):
        if name == path:
            return Response(content=_content(folder, path, url))
    raise not_found(f"The artifact {path!r} of {folder}")


@routes.on("GET", ARTIFACTS + "/prefix/contentinfo" + FOLDER + "{rest:(?:/.*)?}")
def contents(service: Service, request: Request) -> Response:
    """Where the contents of a folder of artifacts are."""
    workspace, folder = service.workspace(request), _folder(request)
    urls = _urls(workspace, folder, request.parameters["rest"].lstrip("/"))
    return Response(content={"value": [_content(folder, path, url) for path, url in urls]})


@routes.on("GET", ARTIFACTS + "/metadata" + FOLDER + "/{file:path}")
def metadata(_service: Service, request: Request) -> Response:
    """One artifact."""
    return Response(content=_artifact(_folder(request), request.parameters["file"]))


@routes.on("GET", ARTIFACTS + FOLDER + "{rest:(?:/.*)?}")
def artifacts(service: Service, request: Request) -> Response:
    """The artifacts of a run, or of a folder of it."""
    workspace, folder = service.workspace(request), _folder(request)
    paths = artifact_paths(workspace, folder, request.parameters["rest"].lstrip("/"))
    return Response(content={"value": [_artifact(folder, path) for path in paths]})


def artifact_paths(workspace: Workspace, folder: Location, beginning: str = "") -> list[str]:
    """The paths of the files below a folder that begin in some way."""
    container = workspace.storage.client(folder.datastore)
    names = container.list_blob_names(name_starts_with=folder.prefix + beginning)
    return [name.removeprefix(folder.prefix) for name in names]


def _folder(request: Request) -> Location:
    parameters = request.parameters
    return Location(ARTIFACTSTORE, f"{parameters['origin']}/{parameters['container']}")


def _urls(workspace: Workspace, folder: Location, beginning: str) -> list[tuple[str, str]]:
    # azure-ai-ml uploads the files of a model to the other datastore.
    places = (Location(datastore, folder.path) for datastore in (ARTIFACTSTORE, BLOBSTORE))
    return [
        (path, workspace.storage.url(place / path))
        for place in places
        for path in artifact_paths(workspace, place, beginning)
    ]


def _content(folder: Location, path: str, url: str) -> dict[str, Any]:
    origin, container = folder.path.split("/", 1)
    return {"contentUri": url, "origin": origin, "container": container, "path": path}


def _artifact(folder: Location, path: str) -> dict[str, Any]:
    origin, container = folder.path.split("/", 1)
    return {
        "artifactId": f"{folder.path}/{path}",
        "origin": origin,
        "container": container,
        "path": path,
        "etag": "",
        "dataPath": None,
        "tags": {},
    }
