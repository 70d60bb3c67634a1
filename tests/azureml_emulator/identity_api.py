"""Tokens, from the places where the credentials of azure-identity ask for them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from azureml_emulator.routing import Request, Response, Routes
from azureml_emulator.service import Service

IDENTITY_PATH = "/emulator/identity"
TOKEN_VALID_FOR_S = 24 * 3600

routes = Routes()


def make_token(audience: str = "https://ml.azure.local") -> str:
    """A JSON web token with the claims that the SDKs read; its signature is no signature."""
    claims = {
        "aud": audience,
        "exp": int(time.time()) + TOKEN_VALID_FOR_S,
        "tid": "00000000-0000-0000-0000-000000000001",
        "oid": "00000000-0000-0000-0000-000000000002",
        "name": "emulator",
    }
    return ".".join([_encode({"alg": "none", "typ": "JWT"}), _encode(claims), "c2lnbmF0dXJl"])


@routes.on("GET", IDENTITY_PATH)
def managed_identity_token(_service: Service, request: Request) -> Response:
    """What `$IDENTITY_ENDPOINT` answers: managed identities work, and so does the default."""
    expires_on = str(int(time.time()) + TOKEN_VALID_FOR_S)
    resource = request.query.get("resource", "")
    token = {"access_token": make_token(resource), "expires_on": expires_on, "resource": resource}
    return Response(content=token | {"token_type": "Bearer"})


@routes.on("GET", "/{tenant}{version:(?:/v2\\.0)?}/.well-known/openid-configuration")
def openid_configuration(service: Service, request: Request) -> Response:
    """Where a service principal logs in."""
    tenant = f"{service.url}/{request.parameters['tenant']}"
    return Response(
        content={
            "issuer": tenant,
            "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{tenant}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{tenant}/oauth2/v2.0/devicecode",
        }
    )


@routes.on("POST", "/{tenant}/oauth2{version:(?:/v2\\.0)?}/token")
def service_principal_token(_service: Service, _request: Request) -> Response:
    """Log any service principal in."""
    token = {"access_token": make_token(), "expires_in": TOKEN_VALID_FOR_S, "token_type": "Bearer"}
    return Response(content=token)


def _encode(values: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
