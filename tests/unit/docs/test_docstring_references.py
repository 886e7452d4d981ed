"""What a docstring names below a room is there, by that name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "anomaly_platform"
ROOMS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
# ``a.b`` in back-quotes, below a room of the package: ``ml.training.gates.decide``.
NAMED = re.compile(rf"`((?:{'|'.join(sorted(ROOMS))})(?:\.\w+)+)`")


def names_of(module: Path) -> set[str]:
    """Return what a module or a room's ``__init__`` binds at its top, methods as Class.method."""
    bound: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
            bound |= {f"{node.name}.{one.name}" for one in ast.walk(node) if hasattr(one, "name")}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {one.id for one in targets if isinstance(one, ast.Name)}
    return bound


def is_there(name: str) -> bool:
    """Return whether a dotted name below the package is a module, or something that one binds."""
    place, parts = PACKAGE, name.split(".")
    for at, part in enumerate(parts):
        if (place / part).is_dir():
            place /= part
            continue
        if (file := place / f"{part}.py").is_file():
            rest = parts[at + 1 :]
        else:
            file, rest = place / "__init__.py", parts[at:]
        return not rest or ".".join(rest) in names_of(file) or rest[0] in names_of(file)
    return True


def test_every_name_in_a_docstring_is_there() -> None:
    gone = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for name in NAMED.findall(ast.get_docstring(node) or "")
        if not is_there(name)
    ]
    assert not gone
    assert is_there("ml.training.gates")
    assert not is_there("ml.gates")
