"""A change of training has to be a decision: see `crossfold.learning.STAGE_VERSION`."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import crossfold.learning

# Version, and hash of the statements of the modules that decide about weights.
DECIDED = (1, "86dc1dd65a1066ae")


def hash_of_statements(folder: Path) -> str:
    """Hash code without comments, docstrings and layout, which change no weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_training_has_not_changed_without_a_decision() -> None:
    version, decided = DECIDED
    current = hash_of_statements(Path(crossfold.learning.__file__).parent)
    assert (crossfold.learning.STAGE_VERSION, current) == (version, decided), (
        "crossfold/learning has changed. If the same configuration now gives other weights, raise "
        f"STAGE_VERSION; then set DECIDED to ({crossfold.learning.STAGE_VERSION}, {current!r})."
    )


def test_comments_and_docstrings_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""One."""\ndef f():\n    """Two."""\n    return 1\n', encoding="utf-8")
    before = hash_of_statements(tmp_path)
    file.write_text("def f():  # Three.\n    return 1\n", encoding="utf-8")
    assert hash_of_statements(tmp_path) == before
    file.write_text("def f():\n    return 2\n", encoding="utf-8")
    assert hash_of_statements(tmp_path) != before
