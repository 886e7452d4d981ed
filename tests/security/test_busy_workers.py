"""A worker that is busy or frozen for a while goes on; one that is dead is replaced."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.builders.services import Service
from tests.builders.waiting import free_port, wait_until

pytestmark = pytest.mark.integration

#: uvicorn's own limit is 5 s.
LONGER_S = 9.0
SILENT_S = 4.0

SERVER = """
import sys, uvicorn
from anomaly_platform.cli.services import workers
workers.SILENT_S = float(sys.argv[2])
workers.be_patient()
if __name__ == "__main__":
    uvicorn.run("served:app", port=int(sys.argv[1]), workers=2, log_level="warning")
"""
SERVED = """
import os, re

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/work":
        # One call, which lets no other thread go on.
        re.match(r"(a+)+$", "a" * 28 + "b")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""


def pids(service: Service) -> set[int]:
    return {worker.pid for worker in service.workers}


def has_ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def test_workers_frozen_for_a_while_are_not_replaced(service: Service) -> None:
    before = pids(service)
    assert len(before) == 2
    for worker in service.workers:
        worker.suspend()
    time.sleep(LONGER_S)
    for worker in service.workers:
        worker.resume()
    assert pids(service) == before
    # Whichever answers first was late, and says so; it is ready all the same.
    answer = service.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "busy")
    wait_until(lambda: service.get("/health/ready").json()["status"] == "ready", 60)
    assert pids(service) == before


def test_a_worker_that_was_killed_is_replaced(service: Service) -> None:
    before = pids(service)
    service.workers[0].kill()
    wait_until(lambda: len(pids(service) - before) == 1 and len(pids(service)) == 2, 120)
    wait_until(lambda: service.get("/health/ready").status_code == 200, 60)


def threads_of(process: psutil.Process) -> set[str]:
    """Return the names of a process's threads beside the first."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return {(one / "comm").read_text().strip() for one in tasks if one.name != str(process.pid)}


def test_workers_share_what_they_import_and_are_replaced_when_their_source_is_gone(
    service: Service,
) -> None:
    before = service.workers
    for worker in before:
        memory = worker.memory_full_info()
        assert memory.uss < memory.rss / 2
    source = before[0].parent()
    assert source is not None
    assert source == before[1].parent()
    if sys.platform == "linux":
        # Those take no lock that a worker could find taken for ever.
        assert threads_of(source) <= {"jemalloc_bg_thd", "polars-ooc-clea"}
    source.kill()
    # They end in order, and others take their place.
    wait_until(lambda: all(map(has_ended, before)), 60)
    wait_until(lambda: len(pids(service)) == 2, 120)
    wait_until(lambda: service.get("/health/ready").status_code == 200, 60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Two workers that are given four seconds."""
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "served.py").write_text(SERVED)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "server.py", str(port), str(SILENT_S)], cwd=tmp_path
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url).status_code == 200
        return False

    wait_until(answers, 120)
    yield url, psutil.Process(process.pid)
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            child.resume()
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def workers_of(parent: psutil.Process) -> set[int]:
    return {child.pid for child in parent.children() if "spawn_main" in " ".join(child.cmdline())}


def test_one_at_work_is_left_alone_and_one_that_is_stopped_for_good_is_not(
    server: tuple[str, psutil.Process],
) -> None:
    url, parent = server
    wait_until(lambda: len(workers_of(parent)) == 2, 60)
    before = workers_of(parent)
    answered: list[int] = []

    def work() -> None:
        answered.append(int(httpx.get(f"{url}/work", timeout=300).text))

    thread = threading.Thread(target=work)
    thread.start()
    began = time.monotonic()
    thread.join()
    assert time.monotonic() - began > 2 * SILENT_S, "the work was too short to tell"
    assert answered[0] in before
    assert workers_of(parent) == before
    frozen = psutil.Process(min(before))
    frozen.suspend()
    wait_until(lambda: frozen.pid not in workers_of(parent) and len(workers_of(parent)) == 2, 120)


def test_workers_end_at_once_while_they_start(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    # Compiling may take as long.
    started = tmp_path / "started"
    (tmp_path / "served.py").write_text(
        f"import time\nopen({str(started)!r}, 'a').write('1')\n"
        "for _ in range(1200): time.sleep(0.1)\n"
    )
    process = subprocess.Popen([sys.executable, "server.py", str(free_port()), "4"], cwd=tmp_path)
    wait_until(lambda: started.exists() and len(started.read_text()) == 2, 60)
    workers = psutil.Process(process.pid).children()
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        process.kill()
