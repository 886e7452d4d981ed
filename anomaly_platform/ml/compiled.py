"""How kernels are compiled, and where their machine code is kept.

Belongs here: the decorator of every compiled function. numba takes the code that it has kept for a
function as long as the function's own file is as it was. What the function calls in other files,
and the constants from there, are part of that code all the same: after an upgrade in place a kernel
would go on with the old ones. So each state of the sources has a folder of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from numba import config, njit

if TYPE_CHECKING:
    from numba.core.dispatcher import Dispatcher

_IMPORTED: Final = re.compile(rb"^\s*from ([\w.]+) import", re.MULTILINE)


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
    decorator: Callable[[_F], Dispatcher[_F]] = njit(
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
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(b"%s %d " % (name.encode(), len(files[name])) + files[name])
    return digest.hexdigest()[:16]


def _kept_in() -> str:
    here = Path(__file__).parent
    # Of those who may not write there, numba asks the next place that it knows.
    chosen = getattr(config, "CACHE_DIR", "") or str(here / "__pycache__")
    return str(Path(chosen) / f"compiled-{sources_digest(here)}")


# numba's own types leave this setting out.
setattr(config, "CACHE_DIR", _kept_in())  # noqa: B010
