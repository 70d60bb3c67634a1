"""Code, data, environments and models as azure-ai-ml registers and finds them."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from azureml_emulator.arm_api import system_data
from azureml_emulator.routing import WORKSPACE, ApiError, Request, Response, Routes, not_found
from azureml_emulator.service import Service
from azureml_emulator.state import Workspace

KIND = WORKSPACE + "/{kind:codes|data|environments|models}"
VERSIONS = KIND + "/{asset}/versions"
VERSION = VERSIONS + "/{version}"

routes = Routes()


@routes.on("POST", VERSION + "/startPendingUpload")
def start_upload(service: Service, request: Request) -> Response:
    """Where the files of a new version may be uploaded to."""
    workspace = service.workspace(request)
    uri = workspace.storage.url(workspace.storage.add_upload())
    return Response(
        content={
            "pendingUploadId": uuid.uuid4().hex,
            "pendingUploadType": "TemporaryBlobReference",
            "blobReferenceForConsumption": {
                "blobUri": uri.partition("?")[0],
                "storageAccountArmId": f"{workspace.path}/storage",
                "credential": {"credentialType": "SAS", "sasUri": uri},
            },
        }
    )


@routes.on("PUT", VERSION)
def register(service: Service, request: Request) -> Response:
    """Register a version; what it is made of does not change any more."""
    workspace = service.workspace(request)
    kind, name, version = _key(request)
    properties = {"properties": {}, "tags": {}, "isAnonymous": False, "isArchived": False}
    properties |= {name: item for name, item in request.json["properties"].items() if item}
    if kind == "models":
        properties.setdefault("flavors", {})
    asset = {
        "id": f"{workspace.path}/{kind}/{name}/versions/{version}",
        "name": version,
        "type": f"Microsoft.MachineLearningServices/workspaces/{kind}/versions",
        "systemData": system_data(),
        "properties": properties,
    }
    with workspace.lock:
        known = workspace.assets[kind].setdefault((name, version), asset)
    if known is asset:
        return Response(HTTPStatus.CREATED, asset)
    for fixed in ("image", "condaFile", "codeUri", "dataUri", "modelUri"):
        if known["properties"].get(fixed) != properties.get(fixed):
            message = f"{kind} {name}:{version} exists, and its {fixed} cannot be changed."
            raise ApiError(HTTPStatus.CONFLICT, message, code="UserError")
    known["properties"]["tags"] = properties["tags"]
    return Response(content=known)


@routes.on("GET", VERSION)
def get(service: Service, request: Request) -> Response:
    """One version."""
    kind, name, version = _key(request)
    asset = service.workspace(request).assets[kind].get((name, version))
    if asset is None:
        raise not_found(f"{kind}/{name}:{version}")
    return Response(content=asset)


@routes.on("GET", VERSIONS)
def versions(service: Service, request: Request) -> Response:
    """The versions of an asset, newest first; `hash` finds code that was uploaded before."""
    found = service.workspace(request).asset_versions(*_key(request)[:2])
    wanted = request.query.get("hash")
    if wanted:
        found = [each for each in found if wanted in each["properties"]["properties"].values()]
    if request.query.get("top"):
        found = found[: int(request.query["top"])]
    return Response(content={"value": found})


@routes.on("GET", KIND + "/{asset}")
def container(service: Service, request: Request) -> Response:
    """What all versions of an asset have in common: which is the latest, and the next."""
    workspace = service.workspace(request)
    kind, name, _ = _key(request)
    found = workspace.asset_versions(kind, name)
    if not found:
        raise not_found(f"{kind}/{name}")
    return Response(content=_container(workspace, kind, name, found))


@routes.on("GET", KIND)
def containers(service: Service, request: Request) -> Response:
    """All assets of a kind."""
    workspace = service.workspace(request)
    kind = request.parameters["kind"].lower()
    names = dict.fromkeys(name for name, _ in workspace.assets[kind])
    found = [
        _container(workspace, kind, name, workspace.asset_versions(kind, name)) for name in names
    ]
    return Response(content={"value": found})


def _key(request: Request) -> tuple[str, str, str]:
    parameters = request.parameters
    return parameters["kind"].lower(), parameters["asset"], parameters.get("version", "")


def _container(
    workspace: Workspace, kind: str, name: str, found: list[dict[str, Any]]
) -> dict[str, Any]:
    numbers = [int(each["name"]) for each in found if each["name"].isdecimal()]
    return {
        "id": f"{workspace.path}/{kind}/{name}",
        "name": name,
        "type": f"Microsoft.MachineLearningServices/workspaces/{kind}",
        "systemData": system_data(),
        "properties": {
            "latestVersion": found[0]["name"],
            "nextVersion": str(max(numbers, default=0) + 1),
            "tags": {},
            "properties": {},
            "isArchived": False,
        },
    }
