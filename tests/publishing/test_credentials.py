from __future__ import annotations

import os
from pathlib import Path

import pytest

from crossfold.errors import CrossfoldError
from crossfold.publishing.pull import pull
from crossfold.publishing.storage import Storage
from tests.publishing.toy import Toy

KEY = "c2VjcmV0IG9mIHRoZSB0ZXN0IQ=="
CONNECTION = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};BlobEndpoint=http://x;"


def texts(folder: Path) -> str:
    """All that could reach somebody else: git's objects, manifests and logs."""
    files = [
        file
        for file in folder.rglob("*")
        if file.is_file() and file.name != "config.local" and ".git" not in file.parts
    ]
    return "\n".join(file.read_text("utf-8", errors="replace") for file in files)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("connection_string", CONNECTION),
        ("account_key", KEY),
        ("sas_token", "sv=2020&sig=abcdefgh"),
        ("password", "open sesame"),
        ("url", "https://me:open-sesame@example.org/store"),
        ("url", "azure://container/store?sig=abcdefgh"),
    ],
)
def test_a_credential_in_a_tracked_file_is_refused(toy: Toy, key: str, value: str) -> None:
    kind = "ssh" if key == "password" else "azure"
    address = "" if key == "url" else f"    url = {kind}://container/store\n"
    toy.write(".dvc/config", f"['remote \"r\"']\n{address}    {key} = {value}\n")
    with pytest.raises(CrossfoldError) as raised, Storage(toy.folder) as storage:
        storage.refuse_tracked_credentials()
    assert f"in `{key}`" in str(raised.value)
    assert value not in str(raised.value)


def test_what_is_not_secret_is_no_credential(toy: Toy) -> None:
    toy.write(
        ".dvc/config",
        "['remote \"r\"']\n    url = ssh://me@example.org/store\n    keyfile = ~/.ssh/id\n"
        "    ask_password = true\n    verify = true\n",
    )
    with Storage(toy.folder) as storage:
        storage.refuse_tracked_credentials()


def test_secrets_are_blanked_in_messages(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", CONNECTION)
    toy.write(
        ".dvc/config.local", "['remote \"r\"']\n    url = ssh://x/y\n    password = open sesame\n"
    )
    with Storage(toy.folder) as storage:
        said = storage.without_secrets(
            f"failed: {CONNECTION}, key {KEY}, open sesame, https://me:pw@x/y, z?sv=1&sig=abc&se=2"
        )
    for secret in (KEY, "open sesame", "pw@", "sig=abc"):
        assert secret not in said
    assert "failed" in said
    assert "se=2" in said


@pytest.fixture
def container(azurite: object, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Address of an empty container, and what opens it."""
    pytest.importorskip("dvc_azure")
    from azure.storage.blob import BlobServiceClient
    from azureml_emulator.azurite import ACCOUNT, ACCOUNT_KEY

    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint={azurite.url};"  # type: ignore[attr-defined]
    )
    name = f"dvc{os.urandom(4).hex()}"
    BlobServiceClient.from_connection_string(connection).create_container(name)
    return f"azure://{name}/store", connection


def use(toy: Toy, container: tuple[str, str]) -> None:
    """Make the container the default remote, as docs/versioning.md says."""
    address, connection = container
    toy.dvc("remote", "add", "--default", "--force", "team", address)
    toy.dvc("remote", "modify", "team", "verify", "true")
    toy.dvc("remote", "modify", "--local", "team", "connection_string", connection)


def test_a_model_goes_to_azure_and_comes_back(toy: Toy, container: tuple[str, str]) -> None:
    from azureml_emulator.azurite import ACCOUNT_KEY

    use(toy, container)
    toy.git("commit", "--quiet", "--all", "--message", "Use the storage of the team")
    assert toy.publish().uploaded > 0
    assert toy.publish().uploaded == 0
    assert not (toy.folder / "demo").exists()
    clone = toy.clone()
    with pytest.raises(CrossfoldError, match="nothing could be pulled"):
        pull(root=clone.folder)  # without what opens the container
    use(clone, container)
    pulled = pull(root=clone.folder)
    assert not pulled.missing
    assert "up to date" in clone.dvc("status")
    assert "in sync" in clone.dvc("status", "--cloud")
    assert ACCOUNT_KEY not in texts(toy.folder) + texts(clone.folder)
    assert ACCOUNT_KEY not in toy.git("log", "--all", "--patch", "--text")


def test_a_lost_blob_is_named(toy: Toy, container: tuple[str, str]) -> None:
    from azure.storage.blob import ContainerClient

    use(toy, container)
    published = toy.publish(allow_uncommitted=True)
    path = "results/Toy/folds/1/segmentations/val/b.nii.gz"
    digest = published.manifest.files[path].md5
    name = container[0].removeprefix("azure://").partition("/")[0]
    client = ContainerClient.from_connection_string(container[1], name)
    client.delete_blob(f"store/files/md5/{digest[:2]}/{digest[2:]}")
    clone = toy.clone()
    use(clone, container)
    assert [missing.path for missing in pull(root=clone.folder).missing] == [path]


def test_a_wrong_key_is_refused_without_being_shown(toy: Toy, container: tuple[str, str]) -> None:
    from azureml_emulator.azurite import ACCOUNT_KEY

    use(toy, (container[0], container[1].replace(ACCOUNT_KEY, KEY)))
    before = toy.head
    with pytest.raises(CrossfoldError) as raised:
        toy.publish(allow_uncommitted=True)
    assert KEY not in str(raised.value)
    assert toy.head == before
