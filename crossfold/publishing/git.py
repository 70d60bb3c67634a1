"""What publishing asks of git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from crossfold.errors import CrossfoldError

CODE = ("Snakefile", "config.yaml", "rules", "scripts", "crossfold", "envs", "locks")
"""What decides a result: a file here counts even if git does not know it yet."""


def git(root: Path, *arguments: str, given: str | None = None) -> str:
    """Run git in a checkout and return what it printed.

    Raises
    ------
    CrossfoldError
        If git is missing or refuses.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise CrossfoldError("git is not installed", remedy="install git") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise CrossfoldError(f"git {arguments[0]}: {said}", remedy="mend that, and run it again")
    return done.stdout


def require_committer(root: Path) -> None:
    """Refuse to begin what will end in a commit that git cannot make.

    Raises
    ------
    CrossfoldError
        If the folder is no git repository with a commit, git does not know who commits, or a
        merge or rebase is under way.
    """
    git(root, "rev-parse", "--verify", "HEAD")
    git(root, "var", "GIT_COMMITTER_IDENT")
    folder = Path(git(root, "rev-parse", "--absolute-git-dir").strip())
    for name in ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"):
        if (folder / name).exists():
            raise CrossfoldError(
                f"{folder / name}: a merge or rebase is not finished",
                remedy="finish it, or take it back, and publish then",
            )


def head(root: Path) -> str:
    """Return the commit that is checked out."""
    return git(root, "rev-parse", "HEAD").strip()


def uncommitted(root: Path, *, but: Sequence[str], also: Iterable[Path] = ()) -> tuple[str, ...]:
    """Return the files that differ from HEAD, and new ones that decide a result.

    Parameters
    ----------
    root
        The checkout.
    but
        Folders and files that do not count.
    also
        Files that decide a result besides `CODE`, such as a configuration laid over config.yaml;
        those outside of the checkout are left out.
    """
    excluded = [f":(exclude){path}" for path in but]
    changed = git(root, "diff", "HEAD", "--name-only", "-z", "--relative", "--", ".", *excluded)
    inside = [path for path in (relative(root, file) for file in also) if path]
    deciding = [path for path in (*CODE, *inside) if (root / path).exists()]
    new = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *deciding)
    return tuple(sorted({path for path in (*changed.split("\0"), *new.split("\0")) if path}))


def relative(root: Path, file: Path) -> str | None:
    """Return a path as git writes it; None outside of the checkout."""
    path = Path(os.path.relpath(file, root))
    return None if ".." in path.parts else path.as_posix()


def tracked(root: Path, *paths: str) -> list[str]:
    """Return the files that git tracks below paths."""
    return [path for path in git(root, "ls-files", "-z", "--", *paths).split("\0") if path]


def commit(root: Path, files: Iterable[str], message: str) -> str | None:
    """Commit files as they are, also ignored ones and deleted ones, and nothing else.

    What else is staged stays staged. Hooks do not run: a formatter would alter published files.

    Returns
    -------
    str or None
        The new commit; None where git has all of it already.
    """
    wanted = sorted(set(files))
    there = [file for file in wanted if (root / file).is_file()]
    gone = [file for file in tracked(root, *_literal(wanted)) if not (root / file).is_file()]
    if there:
        git(
            root,
            *("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"),
            given=_listed(there),
        )
    everything = [*there, *gone]
    if not everything:
        return None
    changed = git(root, "diff", "HEAD", "--name-only", "-z", "--relative").split("\0")
    ours = sorted(set(changed) & set(everything))
    if not ours:
        return None
    git(
        root,
        *("commit", "--quiet", "--no-verify", "--only", "--message", message),
        *("--pathspec-from-file=-", "--pathspec-file-nul"),
        given=_listed(ours),
    )
    return head(root)


def _literal(files: Iterable[str]) -> list[str]:
    return [f":(literal){file}" for file in files]


def _listed(files: Iterable[str]) -> str:
    return "".join(f"{file}\0" for file in _literal(files))
