"""How kernels are compiled, and where their machine code is kept.

Belongs here: the decorator of every compiled function. numba takes the code that it has kept for a
function as long as the function's own file is as it was. What the function calls in other files,
and the constants from there, are part of that code all the same: after an upgrade in place a kernel
would go on with the old ones. So each state of the sources has a folder of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

if TYPE_CHECKING:
    from numba.core.dispatcher import Dispatcher

#: Beside the bytecode.
_OWN: Final = Path(__file__).with_name("__pycache__")
_IMPORTED: Final = re.compile(rb"^\s*from ([\w.]+) import", re.MULTILINE)
_IMPORTS_THIS: Final = b"ml.compiled import compiled"
#: File that says that a folder has the machine code of every function with a signature.
_ALL: Final = "all"

#: Seconds; compiling takes minutes on the slowest machine.
_LONGEST_START_S: Final = 3600.0

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(
    signature: Any = None, *, error_model: Literal["python", "numpy"] = "python"
) -> Callable[[_F], Dispatcher[_F]]:
    """Return a decorator that compiles a function, without the interpreter's lock, and keeps it.

    Parameters
    ----------
    signature
        Types to compile for when the module is imported; at the first call of each kind without.
    error_model
        ``numpy`` divides by zero as NumPy does, and faster; ``python`` raises.
    """
    decorator: Callable[[_F], Dispatcher[_F]] = _compiler()(
        signature, cache=True, nogil=True, error_model=error_model
    )
    return decorator


def sources_digest(package: Path) -> str:
    """Return a digest of all sources that compiled functions of a package may be made of.

    Parameters
    ----------
    package
        Folder of the package: the files in it that import this module, and what those import from
        it, directly or not.
    """
    root = package.parent
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_bytes()
        for path in sorted(package.rglob("*.py"))
    }
    prefix = __name__.removesuffix("ml.compiled")
    waiting = [name for name, text in files.items() if b"import compiled" in text]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in files and name not in found:
            found.add(name)
            imported = _IMPORTED.findall(files[name])
            waiting += [one.decode().removeprefix(prefix) for one in imported]
    # What numba looks at besides: kernels of another interpreter or machine are none here.
    made_by = f"{sys.implementation.cache_tag} {version('numba')} {platform.machine()}"
    digest = hashlib.sha256(made_by.encode())
    for name in sorted(found):
        digest.update(b"%s %d " % (name.encode(), len(files[name])) + files[name])
    return digest.hexdigest()[:16]


def all_kept() -> bool:
    """Return whether `note_all_kept` has noted that the machine code of these sources is kept.

    Looks at files alone: numba takes most of a second to import.
    """
    try:
        noted = (_folder() / _ALL).stat().st_mtime
    except OSError:
        return False
    return all(path.stat().st_mtime <= noted for path in _kernels().values())


def can_be_kept() -> bool:
    """Return whether machine code may be written where it is looked for first.

    Where it may not, numba keeps it in the user's folder, if there is one.
    """
    folder = _folder()
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def forget_older() -> None:
    """Remove the machine code of other states of the sources from a folder that is ours alone.

    Beside the bytecode that happens by itself; a folder that somebody has chosen is left alone.
    """
    if not (kept := _folder()).exists():
        _forget_others(kept)


def compile_all() -> None:
    """Import every module with compiled functions of this package.

    Compiles what has a signature, half a minute of processor time, once. The rest is compiled when
    it is first called (`ml.rehearsal`).
    """
    for name in _kernels():
        importlib.import_module(name)


def note_all_kept() -> None:
    """Note that what these sources need is compiled."""
    with contextlib.suppress(OSError):
        (_folder() / _ALL).touch()


def _folder() -> Path:
    return _kept_in(os.environ.get("NUMBA_CACHE_DIR", ""))


def _kernels() -> dict[str, Path]:
    """Return the modules with compiled functions, by name."""
    package = _OWN.parents[1]
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in sorted(package.rglob("*.py"))
        if _IMPORTS_THIS in path.read_bytes()
    }


@lru_cache(maxsize=1)
def _compiler() -> Any:
    from numba import config, njit

    # numba's own types leave this setting out.
    chosen = _kept_in(getattr(config, "CACHE_DIR", ""))
    if chosen.parent == _OWN and not chosen.exists():
        _forget_others(chosen)
    setattr(config, "CACHE_DIR", str(chosen))  # noqa: B010
    return njit


def _kept_in(chosen: str) -> Path:
    # Of those who may not write there, numba asks the next place that it knows.
    folder = Path(chosen or _OWN)
    return folder / f"compiled-{sys.implementation.cache_tag}-{sources_digest(_OWN.parent)}"


def _forget_others(kept: Path) -> None:
    """Remove the machine code of other states of the sources; that of other interpreters stays.

    Folders go an hour after they were emptied: a process of an older state may write there, and one
    that starts has its folder for minutes before there is anything in it. Once their names did not
    say the interpreter.
    """
    own = re.compile(rf"({re.escape(kept.name.rpartition('-')[0])}|compiled)-[0-9a-f]{{16}}")
    for old in kept.parent.glob("compiled-*"):
        if old == kept or not own.fullmatch(old.name):
            continue
        # Another process that starts may remove it at the same time.
        with contextlib.suppress(OSError):
            files = [*old.glob(_ALL), *old.rglob("*.nb[ci]")]
            for file in files:
                file.unlink()
            if not files and time.time() - _changed(old) > _LONGEST_START_S:
                shutil.rmtree(old)


def _changed(folder: Path) -> float:
    """Return when something was last written to a folder, or removed from it, at any depth."""
    return max(one.stat().st_mtime for one in (folder, *folder.rglob("*")))
