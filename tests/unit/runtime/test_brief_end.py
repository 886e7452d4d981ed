"""Processes that end with their work: at once, in order, and with their exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anomaly_platform.runtime.brief_end import briefly

#: What is left when the interpreter clears away says so, and would take its time.
SLOW_TO_CLEAR = """
import atexit, sys, threading, time

class Slow:
    def __del__(self, sleep=time.sleep, out=sys.__stderr__):
        print("cleared away", file=out)
        sleep(30)

left = Slow()
left.itself = left
sys.modules["left"] = left
atexit.register(lambda: print("cleaned up"))
threading.Thread(target=lambda: (time.sleep(0.2), print("thread ended"))).start()
"""


def run(tmp_path: Path, last_line: str) -> tuple[int, str, str]:
    program = tmp_path / "program.py"
    program.write_text(SLOW_TO_CLEAR + last_line)
    ended = subprocess.run(
        briefly(str(program), "one", "two"),
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
        cwd=tmp_path,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("last_line", "code"),
    [
        ("print(sys.argv[1:])", 0),
        ("print(sys.argv[1:]); sys.exit(3)", 3),
        ("print(sys.argv[1:]); sys.exit('gone wrong')", 1),
        ("print(sys.argv[1:]); raise ValueError('gone wrong')", 1),
    ],
)
def test_work_is_finished_and_nothing_is_cleared_away(
    tmp_path: Path, last_line: str, code: int
) -> None:
    ended, said, complained = run(tmp_path, last_line)
    assert ended == code
    assert said.splitlines() == ["['one', 'two']", "thread ended", "cleaned up"]
    assert "cleared away" not in complained
    assert ("gone wrong" in complained) == (code == 1)


def test_modules_of_the_current_folder_stand_in_for_none(tmp_path: Path) -> None:
    (tmp_path / "calendar.py").write_text("raise SystemExit(9)")
    ended, said, _ = run(tmp_path, "import calendar; print(calendar.__name__)")
    assert ended == 0
    assert "calendar" in said


@pytest.mark.parametrize(("command", "briefly_ended"), [("grpc", True), ("execute_run", False)])
def test_a_code_server_of_dagster_ends_so_and_its_runs_do_not(
    tmp_path: Path, command: str, briefly_ended: bool
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit\n"
        "from multiprocessing import util\n"
        "from anomaly_platform.runtime.brief_end import end_code_server_briefly\n"
        "atexit.register(lambda: print('the interpreter goes on ending'))\n"
        "end_code_server_briefly()\n"
        "print(util.get_temp_dir())\n"
    )
    ended = subprocess.run(
        [sys.executable, str(program), "api", command],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 0
    assert ("goes on ending" in ended.stdout) != briefly_ended
    assert not Path(ended.stdout.splitlines()[0]).exists()
