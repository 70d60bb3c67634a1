"""Tokens are asked for once, and secrets stay where they are."""

from __future__ import annotations

import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from snakemake_executor_plugin_azureml.credentials import (
    CachedCredential,
    find_credential,
    redact,
)
from snakemake_interface_common.exceptions import WorkflowError

ARM = "https://management.azure.com/.default"
PRINCIPAL = {
    "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000001",
    "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000002",
    "AZURE_CLIENT_SECRET": "s3cret-Of-The-Principal",
}


class Counter:
    """A credential that counts how often it is asked, and fails after the first time if told."""

    def __init__(self, lifetime_s: float, *, fails_later: bool = False) -> None:
        self.count = 0
        self._lifetime_s = lifetime_s
        self._fails_later = fails_later

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.count += 1
        if self._fails_later and self.count > 1:
            raise ConnectionError("no network")
        return AccessToken(f"token {self.count}", int(time.time() + self._lifetime_s))


def test_a_token_is_asked_for_once_per_scope() -> None:
    counter = Counter(3600)
    credential = CachedCredential(counter)
    assert {credential.get_token(ARM).token for _ in range(5)} == {"token 1"}
    credential.get_token("https://storage.azure.com/.default")
    assert counter.count == 2


def test_a_token_is_renewed_before_it_expires() -> None:
    credential = CachedCredential(Counter(200))
    assert credential.get_token(ARM).token == "token 1"
    assert credential.get_token(ARM).token == "token 2"


def test_claims_are_never_answered_from_the_cache() -> None:
    credential = CachedCredential(Counter(3600))
    credential.get_token(ARM)
    assert credential.get_token(ARM, claims="more").token == "token 2"


def test_a_token_that_is_still_valid_outlasts_a_failing_login() -> None:
    credential = CachedCredential(Counter(200, fails_later=True))
    credential.get_token(ARM)
    assert credential.get_token(ARM).token == "token 1"


def test_an_expired_token_does_not() -> None:
    credential = CachedCredential(Counter(10, fails_later=True))
    credential.get_token(ARM)
    with pytest.raises(ConnectionError):
        credential.get_token(ARM)


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ("default", "DefaultAzureCredential"),
        ("interactive", "InteractiveBrowserCredential"),
        ("service_principal", "ClientSecretCredential"),
    ],
)
def test_logins(login: Any, expected: str) -> None:
    assert type(find_credential(login, PRINCIPAL).credential).__name__ == expected


def test_an_unknown_login_is_refused() -> None:
    with pytest.raises(WorkflowError, match="login 'password' is not one of"):
        find_credential("password", {})  # type: ignore[arg-type]


def test_what_a_service_principal_lacks_is_named_and_what_it_has_is_not_shown() -> None:
    environ = {name: value for name, value in PRINCIPAL.items() if name != "AZURE_TENANT_ID"}
    with pytest.raises(WorkflowError, match="needs AZURE_TENANT_ID in the environment") as caught:
        find_credential("service_principal", environ)
    assert PRINCIPAL["AZURE_CLIENT_SECRET"] not in str(caught.value)


def test_a_credential_shows_no_secret() -> None:
    credential = find_credential("service_principal", PRINCIPAL)
    cached = CachedCredential(Counter(3600))
    cached.get_token(ARM)
    assert repr(credential) == repr(cached) == "CachedCredential()"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("url: /container/blob?se=2026&sig=aB%2Fc%3D&sv=1 failed", "aB%2Fc%3D"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ("AccountName=a;AccountKey=Zm9v==;", "Zm9v=="),
        ('{"client_secret": "hunter2"}', "hunter2"),
        ("token eyJhbGciOiJub25lIn0.eyJleHAiOjF9.c2ln end", "eyJleHAiOjF9"),
        ("said s3cret-Of-The-Principal aloud", "s3cret-Of-The-Principal"),
    ],
)
def test_redact_removes_secrets_and_nothing_else(text: str, secret: str) -> None:
    redacted = redact(text, PRINCIPAL)
    assert secret not in redacted
    assert "***" in redacted
    assert redact("job train-1 failed: HTTP 503, key error", PRINCIPAL) == (
        "job train-1 failed: HTTP 503, key error"
    )
