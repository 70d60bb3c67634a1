"""Snapshots, environments, datastores and models as azureml-core writes and finds them."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from azureml_emulator.arm_api import STORAGE_SUFFIX, system_data
from azureml_emulator.routing import WORKSPACE, ApiError, Request, Response, Routes, not_found
from azureml_emulator.service import Service
from azureml_emulator.state import Workspace, timestamp
from azureml_emulator.storage import ARTIFACTSTORE, BLOBSTORE, Location

CONTENT = "/content/{version:v[12].0}" + WORKSPACE + "/snapshots"
ENVIRONMENT = "/environment/v1.0" + WORKSPACE + "/environments/{asset}"
OF_VERSION = "{version:(?:/versions/[^/]+)?}"
DATASTORE = "/datastore/v1.0" + WORKSPACE
MODELS = "/modelmanagement/v1.0" + WORKSPACE
NO_SNAPSHOT = str(uuid.UUID(int=0))

routes = Routes()


@routes.on("GET", CONTENT + "/latest/metadata")
def latest_snapshot(_service: Service, _request: Request) -> Response:
    """The snapshot that a new one may build upon: an empty one."""
    root = {"name": "", "type": "Directory", "timestamp": timestamp(), "sizeBytes": 0}
    root |= {"sizeSet": False, "children": {}, **dict.fromkeys(("hash", "sasUrl", "absoluteUrl"))}
    return Response(content={"id": NO_SNAPSHOT, "root": root})


@routes.on("POST", CONTENT + "/getblob")
def snapshot_uploads(service: Service, request: Request) -> Response:
    """Where the files of a snapshot may be uploaded to."""
    workspace = service.workspace(request)
    upload = Location(ARTIFACTSTORE, f"snapshot-files/{uuid.uuid4().hex}")
    urls = {name: workspace.storage.upload_url(upload / name) for name in request.json["FileNames"]}
    nodes = [{"fullName": name, "blobUri": url} for name, url in urls.items()]
    return Response(content={"fileNodes": nodes})


@routes.on("POST", CONTENT + "/{snapshot:[0-9a-f]+-[0-9a-f-]+}")
def create_snapshot(service: Service, request: Request) -> Response:
    """Make a snapshot of files that were uploaded, and of those of its parent."""
    workspace = service.workspace(request)
    parent = request.json.get("ParentSnapshotId")
    if parent not in (None, NO_SNAPSHOT):
        # The SDK remembers snapshots of other workspaces and starts anew when told so.
        raise not_found(f"The snapshot {parent!r}")
    snapshot = workspace.snapshot(request.parameters["snapshot"])
    target = workspace.storage.client(snapshot.datastore)
    for node in request.json["FileRevisionList"]["FileNodes"]:
        uploaded = workspace.storage.location(node["BlobUri"])
        content = workspace.storage.client(uploaded.datastore).download_blob(uploaded.path)
        target.upload_blob(snapshot.prefix + node["FullName"], content.readall(), overwrite=True)
    return Response(content={"id": request.parameters["snapshot"]})


@routes.on("PUT", ENVIRONMENT + OF_VERSION)
def register_environment(service: Service, request: Request) -> Response:
    """Register an environment; without a version it is the next, or the last if nothing changed."""
    workspace, name = service.workspace(request), request.parameters["asset"]
    version = request.parameters["version"].rpartition("/")[2]
    # The SDK writes some names with a capital and reads them without: to the service it is one.
    submitted = {key[0].lower() + key[1:]: item for key, item in request.json.items()}
    with workspace.lock:
        known = workspace.asset_versions("core-environments", name)
        if not version:
            is_known = known and known[0] == submitted | {
                "name": name,
                "version": known[0]["version"],
            }
            version = known[0]["version"] if is_known else str(len(known) + 1)
        definition = submitted | {"name": name, "version": version}
        kept = workspace.assets["core-environments"].setdefault((name, version), definition)
    if kept != definition:
        message = f"The environment {name}:{version} exists, and it cannot be changed."
        raise ApiError(HTTPStatus.CONFLICT, message, code="UserError")
    return Response(content=definition)


@routes.on("GET", ENVIRONMENT + OF_VERSION)
def environment(service: Service, request: Request) -> Response:
    """The newest version of an environment, or one of them."""
    name = request.parameters["asset"]
    version = request.parameters["version"].rpartition("/")[2]
    for found in service.workspace(request).asset_versions("core-environments", name):
        if version in ("", found["version"]):
            return Response(content=found)
    raise not_found(f"The environment {name}:{version}")


@routes.on("GET", DATASTORE + "/default")
def default_datastore(service: Service, request: Request) -> Response:
    """The default datastore."""
    return Response(content=_datastore(service.workspace(request), BLOBSTORE))


@routes.on("GET", DATASTORE + "/datastores/{datastore}")
def datastore(service: Service, request: Request) -> Response:
    """One datastore, with a signature that opens it."""
    return Response(content=_datastore(service.workspace(request), request.parameters["datastore"]))


@routes.on("POST", MODELS + "/assets")
def create_asset(service: Service, request: Request) -> Response:
    """Say which artifacts belong together, before they are made a model."""
    identity = str(uuid.uuid4())
    asset = request.json | {"id": identity}
    service.workspace(request).assets["core-assets"][identity, "1"] = asset
    return Response(content=asset)


@routes.on("GET", MODELS + "/assets/{asset}")
def asset(service: Service, request: Request) -> Response:
    """Which artifacts belong together; of a model of azure-ai-ml: where it is."""
    workspace, identity = service.workspace(request), request.parameters["asset"]
    known = workspace.assets["core-assets"].get((identity, "1"))
    if known is None:
        name, _, version = identity.rpartition("-")
        model_version = workspace.assets["models"].get((name, version))
        if model_version is None:
            raise not_found(f"The asset {identity!r}")
        path = Location.parse(model_version["properties"]["modelUri"]).path
        known = {"id": identity, "name": name, "artifacts": [{"prefix": path}]}
    return Response(content=known)


@routes.on("POST", MODELS + "/models")
def register_model(service: Service, request: Request) -> Response:
    """Register the next version of a model; azure-ai-ml sees it as well."""
    workspace, submitted = service.workspace(request), request.json
    name = submitted["name"]
    identity = submitted["url"].rpartition("/")[2]
    artifacts = workspace.assets["core-assets"].get((identity, "1"), {}).get("artifacts")
    if not artifacts:
        message = f"The asset {submitted['url']!r} was not found."
        raise ApiError(HTTPStatus.BAD_REQUEST, message, code="UserError")
    location = Location(ARTIFACTSTORE, artifacts[0].get("prefix") or artifacts[0]["id"])
    with workspace.lock:
        versions = [int(each["name"]) for each in workspace.asset_versions("models", name)]
        version = str(max(versions, default=0) + 1)
        model_version = {
            "id": f"{workspace.path}/models/{name}/versions/{version}",
            "name": version,
            "type": "Microsoft.MachineLearningServices/workspaces/models/versions",
            "systemData": system_data(),
            "properties": {
                "description": submitted.get("description"),
                "tags": submitted.get("kvTags") or {},
                "properties": submitted.get("properties") or {},
                "modelType": "custom_model",
                "modelUri": str(location),
                "flavors": {},
                "isAnonymous": False,
                "isArchived": False,
                "assetId": identity,
            },
        }
        workspace.assets["models"][name, version] = model_version
    return Response(content=_model(name, model_version))


@routes.on("GET", MODELS + "/models")
def models(service: Service, request: Request) -> Response:
    """The versions of a model, or of all models, newest first."""
    known = service.workspace(request).assets["models"]
    wanted = request.query.get("name")
    found = [_model(name, each) for (name, _), each in known.items() if wanted in (None, name)]
    return Response(content={"value": found[::-1]})


@routes.on("GET", MODELS + "/models/{model}")
def model(service: Service, request: Request) -> Response:
    """One version of a model, `name:version`."""
    return Response(content=_model(*_find_model(service, request)))


@routes.on("PATCH", MODELS + "/models/{model}")
def change_model(service: Service, request: Request) -> Response:
    """Replace the tags or the description of a version."""
    name, found = _find_model(service, request)
    names = {"/kvTags": "tags", "/description": "description"}
    for change in request.json:
        if change["op"] != "replace" or change["path"] not in names:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"Not emulated: {change}", code="UserError")
        found["properties"][names[change["path"]]] = change["value"]
    return Response(content=_model(name, found))


def _find_model(service: Service, request: Request) -> tuple[str, dict[str, Any]]:
    name, _, version = request.parameters["model"].partition(":")
    found = service.workspace(request).assets["models"].get((name, version))
    if found is None:
        raise ApiError(HTTPStatus.NOT_FOUND, f"{name}:{version}", code="ModelNotFound")
    return name, found


def _model(name: str, version: dict[str, Any]) -> dict[str, Any]:
    properties = version["properties"]
    identity = properties.get("assetId") or f"{name}-{version['name']}"
    return {
        "id": f"{name}:{version['name']}",
        "name": name,
        "version": int(version["name"]),
        "url": f"aml://asset/{identity}",
        "description": properties.get("description"),
        "kvTags": properties["tags"],
        "properties": properties["properties"],
        "createdTime": version["systemData"]["createdAt"],
        "modifiedTime": version["systemData"]["createdAt"],
        "mimeType": "application/x-python",
        "framework": "Custom",
        "unpack": False,
        "datasets": [],
    }


def _datastore(workspace: Workspace, name: str) -> dict[str, Any]:
    container = workspace.storage.containers.get(name)
    if container is None:
        raise not_found(f"The datastore {name!r}")
    return {
        "name": name,
        "dataStoreType": "AzureBlob",
        "hasBeenValidated": True,
        "tags": {},
        "isDefault": name == BLOBSTORE,
        "azureStorageSection": {
            "accountName": workspace.storage.account,
            "containerName": container,
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            "credentialType": "Sas",
            "credential": workspace.storage.sas,
            "isSas": True,
            "sasToken": workspace.storage.sas,
            "blobCacheTimeout": 0,
            "serviceDataAccessAuthIdentity": "None",
        },
    }
