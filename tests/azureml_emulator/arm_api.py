"""Azure Resource Manager, as far as both SDKs ask it: clouds, workspaces, datastores, computes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from azureml_emulator.routing import WORKSPACE, ApiError, Request, Response, Routes, not_found
from azureml_emulator.service import Service
from azureml_emulator.state import SERVERLESS, Compute, Workspace, timestamp
from azureml_emulator.storage import BLOBSTORE

SERVICES = (
    "api",
    "cataloglaunch",
    "executionservice",
    "experimentation",
    "history",
    "hyperdrive",
    "mlflow",
    "modelmanagement",
    "studio",
)
# Both SDKs append it to the names of accounts; storage.Storage.account cuts it off again.
STORAGE_SUFFIX = "storage.local"

routes = Routes()


def system_data() -> dict[str, str]:
    """Who made a resource and when."""
    return {
        "createdAt": timestamp(),
        "createdBy": "emulator",
        "createdByType": "User",
        "lastModifiedAt": timestamp(),
    }


@routes.on("GET", "/metadata/endpoints")
def clouds(service: Service, _request: Request) -> Response:
    """The clouds that there are: `$ARM_CLOUD_METADATA_URL` leads both SDKs here."""
    url = service.url
    cloud = {
        "name": service.cloud,
        "portal": url,
        "resourceManager": url,
        "authentication": {
            "loginEndpoint": url,
            "audiences": [url],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        **dict.fromkeys(
            ("activeDirectoryDataLake", "batch", "gallery", "graph", "graphAudience"), url
        ),
        **dict.fromkeys(("media", "sqlManagement", "vmImageAliasDoc"), url),
        "suffixes": {
            "storage": STORAGE_SUFFIX,
            "keyVaultDns": "vault.local",
            "sqlServerHostname": "database.local",
            "acrLoginServer": "registry.local",
        },
    }
    return Response(content=[cloud])


@routes.on("GET", "/discovery")
def discovery(service: Service, _request: Request) -> Response:
    """Where the services of a workspace are."""
    return Response(content=dict.fromkeys(SERVICES, service.url))


@routes.on("GET", "/subscriptions")
def subscriptions(service: Service, _request: Request) -> Response:
    """The subscriptions of the caller."""
    identities = {workspace.subscription_id for workspace in service.workspaces}
    return Response(
        content={
            "value": [
                {
                    "id": f"/subscriptions/{identity}",
                    "subscriptionId": identity,
                    "displayName": "emulator",
                    "state": "Enabled",
                }
                for identity in sorted(identities)
            ]
        }
    )


@routes.on("GET", WORKSPACE)
def workspace(service: Service, request: Request) -> Response:
    """One workspace."""
    found = service.workspace(request)
    return Response(
        content={
            "id": found.path,
            "name": found.name,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": "local",
            "kind": "Default",
            "tags": {},
            "identity": {"type": "SystemAssigned", "tenantId": "local", "principalId": "local"},
            "sku": {"name": "Basic", "tier": "Basic"},
            "systemData": system_data(),
            "properties": {
                "workspaceId": found.identity,
                "friendlyName": found.name,
                "discoveryUrl": f"{service.url}/discovery",
                "provisioningState": "Succeeded",
                "mlFlowTrackingUri": f"azureml://localhost/mlflow/v1.0{found.path}",
                "storageAccount": f"{found.path}/storage",
                "keyVault": f"{found.path}/vault",
                "applicationInsights": f"{found.path}/insights",
                "tenantId": "local",
            },
        }
    )


@routes.on("GET", WORKSPACE + "/datastores")
def datastores(service: Service, request: Request) -> Response:
    """The datastores of a workspace."""
    found = service.workspace(request)
    names = found.storage.containers
    return Response(content={"value": [_datastore(found, name) for name in names]})


@routes.on("GET", WORKSPACE + "/datastores/{datastore}")
def datastore(service: Service, request: Request) -> Response:
    """One datastore."""
    found = service.workspace(request)
    return Response(content=_datastore(found, request.parameters["datastore"]))


@routes.on("POST", WORKSPACE + "/datastores/{datastore}/listSecrets")
def datastore_secrets(service: Service, request: Request) -> Response:
    """A signature that opens a datastore for some hours."""
    found = service.workspace(request)
    _datastore(found, request.parameters["datastore"])
    return Response(content={"secretsType": "Sas", "sasToken": found.storage.sas})


@routes.on("GET", WORKSPACE + "/computes")
def computes(service: Service, request: Request) -> Response:
    """The clusters of a workspace."""
    found = service.workspace(request)
    named = (compute for name, compute in found.computes.items() if name != SERVERLESS)
    return Response(content={"value": [compute_resource(found, each) for each in named]})


@routes.on("GET", WORKSPACE + "/computes/{compute}")
def compute(service: Service, request: Request) -> Response:
    """One cluster, for azure-ai-ml."""
    found = service.workspace(request)
    return Response(content=compute_resource(found, find_compute(found, request)))


@routes.on("GET", "/rp/workspaces" + WORKSPACE + "/computes/{compute}")
def compute_for_core(service: Service, request: Request) -> Response:
    """One cluster, for azureml-core."""
    found = service.workspace(request)
    return Response(content=compute_resource(found, find_compute(found, request)))


def find_compute(found: Workspace, request: Request) -> Compute:
    """The cluster that a request is about.

    Raises
    ------
    ApiError
        There is no such cluster (status 404).
    """
    name = request.parameters["compute"]
    if name == SERVERLESS or name not in found.computes:
        raise not_found(f"The compute {name!r}")
    return found.computes[name]


def compute_resource(found: Workspace, item: Compute) -> dict[str, Any]:
    """A cluster as Azure describes it."""
    scale = {
        "minNodeCount": 0,
        "maxNodeCount": item.max_nodes,
        "nodeIdleTimeBeforeScaleDown": "PT120S",
    }
    return {
        "id": f"{found.path}/computes/{item.name}",
        "name": item.name,
        "location": "local",
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "tags": {},
        "identity": {
            "type": "SystemAssigned",
            "principalId": "local",
            "tenantId": "local",
            "userAssignedIdentities": {},
        },
        "properties": {
            "computeType": "AmlCompute",
            "computeLocation": "local",
            "provisioningState": "Succeeded",
            "createdOn": timestamp(),
            "modifiedOn": timestamp(),
            "isAttachedCompute": False,
            "disableLocalAuth": False,
            **dict.fromkeys(("description", "provisioningErrors", "resourceId")),
            "properties": {
                "vmSize": item.vm_size,
                "vmPriority": "LowPriority" if item.is_low_priority else "Dedicated",
                "scaleSettings": scale,
                "userAccountCredentials": {},
                "allocationStateTransitionTime": timestamp(),
                "osType": "Linux",
                "allocationState": "Steady",
                "currentNodeCount": 0,
                "targetNodeCount": 0,
                "remoteLoginPortPublicAccess": "Disabled",
                **dict.fromkeys(("subnet", "errors", "nodeStateCounts")),
            },
        },
    }


def _datastore(found: Workspace, name: str) -> dict[str, Any]:
    container = found.storage.containers.get(name)
    if container is None:
        raise not_found(f"The datastore {name!r}")
    return {
        "id": f"{found.path}/datastores/{name}",
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/datastores",
        "systemData": system_data(),
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": found.storage.account,
            "containerName": container,
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            "isDefault": name == BLOBSTORE,
            "credentials": {"credentialsType": "Sas"},
            "serviceDataAccessAuthIdentity": "None",
            "tags": {},
            "properties": {},
        },
    }


def require_token(request: Request) -> None:
    """Refuse a request for a resource without a bearer token.

    Raises
    ------
    ApiError
        There is none (status 401).
    """
    is_resource = "/providers/Microsoft.MachineLearningServices/" in request.path
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if is_resource and not (scheme == "Bearer" and token):
        raise ApiError(HTTPStatus.UNAUTHORIZED, "No bearer token.", code="AuthenticationFailed")
