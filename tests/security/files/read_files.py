"""Reads the files of a folder as the platform does, and prints what became of each, as JSON.

Run in a process of its own, and the peak of memory is counted anew for each file. Linux tells it in
`/proc`; `ru_maxrss` would be at least what the process had that started this one.
"""

import json
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from anomaly_platform.ingest.files.limits import ReadLimits, UnreadableFile
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.metrics import METRIC_READER

#: Beyond this an allocation fails, instead of the machine's memory.
_MOST = 16 << 30


def main(folder: str, max_bytes: str) -> None:
    import pyarrow.parquet  # noqa: F401 - its own memory is not that of a file

    resource.setrlimit(resource.RLIMIT_AS, (_MOST, _MOST))
    limits = ReadLimits(max_bytes=int(max_bytes))
    for file in sorted(Path(folder).iterdir()):
        context = LayoutContext(file.name, datetime.now(UTC), limits=limits)
        _forget_peak()
        rows, reason, before = 0, None, time.perf_counter()
        try:
            for good, refused in METRIC_READER.read(file, context):
                rows += good.height + refused.height
        except UnreadableFile as error:
            reason = str(error)
        told = {
            "file": file.name,
            "size": file.stat().st_size,
            "rows": rows,
            "reason": reason,
            "seconds": round(time.perf_counter() - before, 2),
            "peak_mb": _peak_kb() >> 10,
        }
        sys.stdout.write(json.dumps(told) + "\n")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
