"""The containers of the workspace's datastores, and the URLs that clients get for them."""

from __future__ import annotations

import posixpath
import re
import uuid
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from azure.storage.blob import BlobServiceClient, ContainerClient

from azureml_emulator.azurite import ACCOUNT, ACCOUNT_KEY, Azurite

BLOBSTORE = "workspaceblobstore"
ARTIFACTSTORE = "workspaceartifactstore"
DATASTORE_URI = re.compile(r"azureml://(?:.+/)?datastores/([^/]+)/paths/?(.*)")


@dataclass(frozen=True)
class Location:
    """A folder or file of a datastore."""

    datastore: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """The location that `azureml://datastores/<name>/paths/<path>`, short or long, names.

        Raises
        ------
        ValueError
            The URI has another form.
        """
        match = DATASTORE_URI.fullmatch(uri)
        if not match:
            raise ValueError(f"{uri!r} is not azureml://datastores/<name>/paths/<path>")
        return cls(match[1], match[2].strip("/"))

    @property
    def prefix(self) -> str:
        """What the names of all blobs below the folder begin with."""
        return f"{self.path}/" if self.path else ""

    def __truediv__(self, name: str) -> Location:
        return Location(self.datastore, posixpath.join(self.path, name))

    def __str__(self) -> str:
        return f"azureml://datastores/{self.datastore}/paths/{self.path}"


class Storage:
    """The storage account of a workspace: Azurite, seen by clients through a TLS proxy.

    Parameters
    ----------
    azurite
        May be shared by several workspaces: each has containers of its own.
    proxy_url
        Where clients reach it, `https://localhost:<port>`.
    """

    def __init__(self, azurite: Azurite, proxy_url: str) -> None:
        identity = uuid.uuid4()
        self.containers = {
            BLOBSTORE: f"azureml-blobstore-{identity}",
            ARTIFACTSTORE: f"azureml-{identity}",
        }
        self._proxy = urlsplit(proxy_url)
        self._service = BlobServiceClient(azurite.url, credential=ACCOUNT_KEY)
        self._uploads: list[str] = []
        for container in self.containers.values():
            self._service.create_container(container)
        self.sas = azurite.make_sas()

    @property
    def account(self) -> str:
        """The account's name as datastores state it.

        Both SDKs talk to `https://{account}.blob.{endpoint}`. Without changes of name resolution,
        a name that ends in `#` turns the rest of that address into a fragment, which is not sent.
        """
        return f"{self._proxy.netloc}/{ACCOUNT}#"

    def add_upload(self) -> Location:
        """A new container for the files of one asset; it stands for itself as a datastore."""
        container = f"upload-{uuid.uuid4()}"
        self._service.create_container(container)
        self._uploads.append(container)
        return Location(container, "")

    def client(self, datastore: str) -> ContainerClient:
        """The emulator's own way to the container of a datastore."""
        return self._service.get_container_client(self._container(datastore))

    def url(self, location: Location) -> str:
        """A signed HTTPS address of a location."""
        path = quote(f"{ACCOUNT}/{self._container(location.datastore)}/{location.path}".rstrip("/"))
        return f"https://{self._proxy.netloc}/{path}?{self.sas}"

    def location(self, url: str) -> Location:
        """The location of an address that `url` or `upload_url` made."""
        path = urlsplit(url).path.removeprefix(f"/{ACCOUNT}").lstrip("/")
        container, _, rest = unquote(path).partition("/")
        names = {name: datastore for datastore, name in self.containers.items()}
        return Location(names.get(container, container), rest)

    def upload_url(self, location: Location) -> str:
        """A signed address for azureml-core, which wants `https://<account>.blob.<endpoint>/…`.

        It cuts the host at its first two dots and puts the pieces together again; account and
        `blob` before the `@` are a user's name to HTTP, and the host follows it.
        """
        path = quote(f"{self._container(location.datastore)}/{location.path}")
        return f"https://{ACCOUNT}.blob.@{self._proxy.netloc}/{path}?{self.sas}"

    def close(self) -> None:
        """Remove the containers."""
        for container in [*self.containers.values(), *self._uploads]:
            self._service.delete_container(container)
        self._service.close()

    def _container(self, datastore: str) -> str:
        return datastore if datastore in self._uploads else self.containers[datastore]
