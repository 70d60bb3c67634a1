"""Who asks: tokens from azure-identity, secrets from the environment only and never shown."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.sdks import quiet

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

Login = Literal["default", "interactive", "service_principal"]

SECRET_VARIABLES = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD")
"""Environment variables whose values must not be shown anywhere."""

_PRINCIPAL_VARIABLES = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
_RENEW_BEFORE_S = 300.0
_EXPIRED_S = 30.0

_SECRETS_IN_TEXT = re.compile(
    r"(?i)(?P<kept>[?&]sig=|\bbearer |\b(?:account|shared|subscription)_?key['\"]?[=:]\s*['\"]?"
    r"|\b(?:client_secret|access_token|refresh_token|sas_?token)['\"]?[=:]\s*['\"]?)[^\s&'\",;<>]+"
)
_TOKEN_IN_TEXT = re.compile(r"\beyJ[\w-]{10,}\.[\w-]+\.[\w-]*")


@dataclass
class CachedCredential:
    """A credential that is asked once per scope and lifetime of its token.

    Some credentials start a program for every token (the Azure CLI takes about a second), and both
    SDKs ask for one per request or even per job of a list.
    """

    credential: TokenCredential = field(repr=False)
    _tokens: dict[tuple[str, ...], AccessToken] = field(
        default_factory=dict, init=False, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token for `scopes`, renewed five minutes before it expires.

        Parameters
        ----------
        scopes
            As azure-core's `TokenCredential` defines them.
        options
            Handed on. A request with claims (the service demands more proof) is never answered from
            the cache.
        """
        with self._lock:
            token = None if options.get("claims") else self._tokens.get(scopes)
            left_s = token.expires_on - time.time() if token else 0.0
            if token is None or left_s < _RENEW_BEFORE_S:
                try:
                    token = self._tokens[scopes] = self.credential.get_token(*scopes, **options)
                except Exception:
                    # A login service that is out for a moment does not invalidate what we hold.
                    if token is None or left_s < _EXPIRED_S:
                        raise
            return token


def find_credential(
    login: Login = "default", environ: Mapping[str, str] = os.environ
) -> CachedCredential:
    """A credential for the services of Azure. No request is sent before the first token is needed.

    Parameters
    ----------
    login
        ``default``: whatever is found first of a service principal in the environment, a workload
        or managed identity, and a login of the Azure CLI or a development tool. ``interactive``: a
        browser window. ``service_principal``: ``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and
        ``AZURE_CLIENT_SECRET`` and nothing else.
    environ
        The environment variables.

    Raises
    ------
    WorkflowError
        If `login` is unknown, or a variable of the service principal is missing.
    """
    quiet()
    from azure import identity

    if login == "default":
        return CachedCredential(identity.DefaultAzureCredential())
    if login == "interactive":
        return CachedCredential(identity.InteractiveBrowserCredential())
    if login != "service_principal":
        raise WorkflowError(
            f"azureml login {login!r} is not one of default, interactive and service_principal."
        )
    missing = [name for name in _PRINCIPAL_VARIABLES if not environ.get(name)]
    if missing:
        raise WorkflowError(
            f"azureml login service_principal needs {', '.join(missing)} in the environment. "
            "Set them there (never in a profile), or log in with `az login` and login: default."
        )
    tenant, client, secret = (environ[name] for name in _PRINCIPAL_VARIABLES)
    return CachedCredential(identity.ClientSecretCredential(tenant, client, secret))


def redact(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """`text` without signatures, keys, tokens and the values of `SECRET_VARIABLES`."""
    for name in SECRET_VARIABLES:
        if environ.get(name):
            text = text.replace(environ[name], "***")
    text = _TOKEN_IN_TEXT.sub("***", text)
    return _SECRETS_IN_TEXT.sub(lambda match: match["kept"] + "***", text)
