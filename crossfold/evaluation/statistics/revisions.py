"""Files of an earlier revision of a repository, tracked by DVC or by git."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from crossfold.config.datasets import check_variables
from crossfold.errors import CrossfoldError


def split_revision(text: str) -> tuple[str, str]:
    """Split `<revision>:<path>`.

    Examples
    --------
    >>> split_revision("v1.0:results/Prostate/metrics.csv")
    ('v1.0', 'results/Prostate/metrics.csv')
    """
    revision, _, path = text.rpartition(":")
    return revision, path


def read_revision(text: str, repository: str) -> str:
    """Read a file as it was in a revision.

    Parameters
    ----------
    text
        `<revision>:<path>`; the path is relative to the root of the repository.
    repository
        Folder or address of the repository; environment variables are expanded.

    Raises
    ------
    CrossfoldError
        If the repository, the revision or the path is not there, or its data were not pulled.
    """
    # Takes a third of a second, which only those who compare revisions should wait for.
    import dvc.api
    from dvc.exceptions import DvcException, PathMissingError
    from dvc.scm import RevError, SCMError

    revision, path = split_revision(text)
    check_variables(repository, f"statistics.compare: repository of {text}")
    folder = os.path.expandvars(repository)
    try:
        return dvc.api.read(path, repo=folder, rev=revision, encoding="utf-8")
    except RevError as error:
        problem = f"there is no revision `{revision}` in the repository `{folder}`"
        remedy = "name a commit, branch or tag (`git tag --list`), or fetch it first"
        raise CrossfoldError(f"compare: {text}: {problem}", remedy=remedy) from error
    except PathMissingError as error:
        if dvc.api.DVCFileSystem(folder, rev=revision).exists(path):
            problem = f"DVC tracks it in the repository `{folder}`, but its content is not there"
            remedy = f"run `git checkout {revision} && dvc pull {path}` there"
            raise CrossfoldError(f"compare: {text}: {problem}", remedy=remedy) from error
        problem = f"there is no file `{path}` in revision `{revision}` of `{folder}`"
        remedy = f"look for it with `dvc list -R --rev {revision} {folder}`"
        raise MissingFileError(f"compare: {text}: {problem}", remedy=remedy) from error
    except (SCMError, NotADirectoryError) as error:
        problem = f"there is no repository `{folder}`"
        remedy = "give the folder or the address of a git repository as `repository`"
        raise CrossfoldError(f"compare: {text}: {problem}", remedy=remedy) from error
    except (DvcException, OSError, ValueError) as error:
        problem = f"not readable from the repository `{folder}` ({error})"
        remedy = f"try `dvc get {folder} {path} --rev {revision}`; data may have to be pulled"
        raise CrossfoldError(f"compare: {text}: {problem}", remedy=remedy) from error


class MissingFileError(CrossfoldError):
    """The revision exists, and the file does not exist in it."""


def beside(text: str, name: str) -> str:
    """Name another file in the folder of `<revision>:<path>`.

    Examples
    --------
    >>> beside("v1:results/A/metrics.csv", "splits.csv")
    'v1:results/A/splits.csv'
    """
    revision, path = split_revision(text)
    return f"{revision}:{PurePosixPath(path).with_name(name)}"
