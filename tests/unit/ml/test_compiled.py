"""Machine code is kept as long as nothing that it is made of has changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly_platform.ml import compiled

KERNEL = """
from {package}.ml.compiled import compiled
from {package}.ml.callee import ADDED, doubled

@compiled()
def kernel(x):
    return doubled(x) + ADDED
"""
CALLEE = """
from {package}.ml.compiled import compiled

ADDED = {added}

@compiled()
def doubled(x):
    return {factor} * x
"""
#: Lets another process that starts remove the same, right before this one does it.
OVERTAKEN = """
import subprocess, sys
from other.ml import compiled
forget = "from other.ml import compiled; compiled._forget_others(compiled._kept_in(''))"
overtaken = []
def hook(event, args):
    if event == sys.argv[1] and not overtaken:
        overtaken.append(event)
        subprocess.run([sys.executable, "-c", forget], check=True)
sys.addaudithook(hook)
exec(forget)
print(*overtaken)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a compiled function that is made of parts of another file."""
    folder = tmp_path / "other" / "ml"
    folder.mkdir(parents=True)
    for one in (folder.parent, folder):
        (one / "__init__.py").touch()
    shutil.copy(compiled.__file__, folder / "compiled.py")
    (folder / "kernel.py").write_text(KERNEL.format(package="other"))
    write_callee(folder, factor=2, added=1)
    return folder


def write_callee(folder: Path, *, factor: int, added: int) -> None:
    text = CALLEE.format(package="other", factor=factor, added=added)
    (folder / "callee.py").write_text(text)


def result(package: Path) -> float:
    code = "from other.ml.kernel import kernel; print(kernel(10.0))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def said(package: Path, what: str) -> str:
    """Return what the copy says: the names of the package are its own."""
    code = f"from pathlib import Path; from other.ml import compiled; print({what})"
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, cwd=package.parents[1], text=True).strip()


def test_what_a_kernel_calls_in_another_file_is_compiled_anew(package: Path) -> None:
    assert result(package) == 21.0
    assert list(package.rglob("compiled-*/**/*.nbc"))
    write_callee(package, factor=3, added=1)
    assert result(package) == 31.0
    write_callee(package, factor=3, added=5)
    assert result(package) == 35.0


def test_machine_code_of_older_sources_is_removed(package: Path) -> None:
    others = package / "__pycache__/compiled-cpython-39-0123456789abcdef/kernel"
    nameless = package / "__pycache__/compiled-0123456789abcdef/kernel"
    for folder in (others, nameless):
        folder.mkdir(parents=True)
        (folder / "kernel.nbc").touch()
    result(package)
    assert not list(nameless.iterdir())
    (first,) = package.rglob(f"compiled-{sys.implementation.cache_tag}-*")
    write_callee(package, factor=3, added=1)
    result(package)
    assert first.exists()  # for a process that still runs
    assert not list(first.rglob("*.nb*"))
    write_callee(package, factor=4, added=1)
    assert result(package) == 41.0
    # Another process may have begun to compile into it.
    assert first.exists()
    for one in (first, *first.rglob("*"), nameless.parent, *nameless.parent.rglob("*")):
        os.utime(one, (0, 0))
    said(package, "compiled._forget_others(compiled._kept_in(''))")
    assert not first.exists()
    assert not nameless.parent.exists()
    assert (others / "kernel.nbc").exists()


@pytest.mark.parametrize("event", ["os.remove", "shutil.rmtree"])
def test_two_that_start_at_once_may_remove_the_same(package: Path, event: str) -> None:
    state = f"compiled-{sys.implementation.cache_tag}-"
    folders = [package / f"__pycache__/{state}{digit * 16}" for digit in "0123"]
    for folder in folders:
        folder.mkdir(parents=True)
        if event == "os.remove":
            (folder / "a.nbc").touch()
            (folder / "b.nbi").touch()
        os.utime(folder, (0, 0))
    done = subprocess.run(
        [sys.executable, "-c", OVERTAKEN, event],
        cwd=package.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (event, "")
    assert not list(package.rglob("*.nb[ci]"))
    assert [one.exists() for one in folders] == [event == "os.remove"] * 4


def test_what_is_compiled_for_this_state_meanwhile_stays(package: Path) -> None:
    ours = "compiled._kept_in('')"
    code = (
        f"{ours}.mkdir(parents=True), ({ours} / 'a.nbc').touch(), compiled._forget_others({ours})"
    )
    said(package, code)
    assert list(package.rglob("compiled-*/a.nbc"))


def test_only_what_kernels_are_made_of_counts(package: Path) -> None:
    def digest() -> str:
        return said(package, "compiled.sources_digest(Path(compiled.__file__).parent)")

    before = digest()
    (package / "unrelated.py").write_text("ANYTHING = 1\n")
    assert digest() == before
    write_callee(package, factor=2, added=7)
    assert digest() != before


def test_whether_machine_code_is_kept_is_known_without_the_compiler(package: Path) -> None:
    def kept() -> str:
        return said(package, "compiled.all_kept(), 'numba' in __import__('sys').modules")

    assert kept() == "False False"
    # What was compiled on the way is not all.
    assert result(package) == 21.0
    assert kept() == "False False"
    said(package, "compiled.compile_all(), compiled.note_all_kept()")
    assert kept() == "True False"
    write_callee(package, factor=3, added=1)
    assert kept() == "False False"
    said(package, "compiled.compile_all(), compiled.note_all_kept()")
    write_callee(package, factor=2, added=1)
    # Of these sources all was kept, until the others' was.
    assert kept() == "False False"


def test_nothing_is_kept_where_its_folder_cannot_be(package: Path) -> None:
    assert said(package, "compiled.can_be_kept()") == "True"
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    (package / "__pycache__").touch()
    assert said(package, "compiled.can_be_kept(), compiled.note_all_kept()") == "False None"
    assert said(package, "compiled.all_kept()") == "False"
