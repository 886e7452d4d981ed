"""The process from which the API's workers are forked counts nothing, and outlasts its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from anomaly_platform.serving.metrics.folder import DIRECTORY_VARIABLE

PROGRAM = """
import os, signal
import anomaly_platform.serving.fork_source
print(signal.getsignal(signal.SIGTERM).name, flush=True)
if os.fork() == 0:
    print(signal.getsignal(signal.SIGTERM).name, flush=True)
    os._exit(0)
os.wait()
"""


def test_it_is_no_worker_in_the_metrics_and_a_signal_to_all_leaves_it_alone(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, DIRECTORY_VARIABLE: str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.stdout.split() == ["SIG_IGN", "SIG_DFL"]
    assert list(tmp_path.glob("counter_*.db"))
    # A worker's gauge for Redis would be 0 there.
    assert not list(tmp_path.glob("gauge_live*.db"))
