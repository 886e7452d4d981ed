"""Ends a process as soon as its work has ended.

What a large program has imported takes the interpreter half a second of processor to clear away.
Ten services that end together need seconds for it on idle processors and half a minute on busy
ones, longer than anybody waits, and nothing of it is needed.
"""

import atexit
import logging
import multiprocessing
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from typing import NoReturn


def briefly(program: str, *arguments: str) -> list[str]:
    """Return the command that runs a program of this environment, and ends so.

    What the program asks to be done at its end is done before.
    """
    # -P: no module of the current folder may stand in for one of the program's.
    return [sys.executable, "-P", "-m", __name__, program, *arguments]


def end_code_server_briefly() -> None:
    """Let this process end so if it is a code server that Dagster has started, and no run of it."""
    is_its_run = multiprocessing.parent_process() is not None
    if sys.argv[1:3] == ["api", "grpc"] and not is_its_run:
        atexit.register(_end, 0)


def _end(code: int) -> NoReturn:
    # For the sockets of processes that are forked; its own removal may come after this.
    folder = getattr(multiprocessing.current_process(), "_config", {}).get("tempdir")
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_briefly(work: Callable[[], object]) -> None:
    """Do the work of this process, which then ends so, with the exit code that the work says."""
    code = 1
    # What is registered first is called last, when threads have ended and others have cleaned up.
    atexit.register(lambda: _end(code))
    try:
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    code = 0


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    run_briefly(lambda: runpy.run_path(sys.argv[0], run_name="__main__"))
