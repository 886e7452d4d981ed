"""What the platform builds on is what uvicorn still has."""

from __future__ import annotations

import hashlib
import inspect

import uvicorn
from uvicorn import _subprocess
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.supervisors import multiprocess

#: Of the modules as they are in uvicorn 0.54.
_READ = "ba1c44bb9b6d3a7b826a2fb5046a06639d96f80738a3adb7fd30464ebc73ae98"


def test_the_classes_are_those_that_were_subclassed() -> None:
    read = (httptools_impl, flow_control, multiprocess, _subprocess)
    sources = "".join(map(inspect.getsource, read))
    assert hashlib.sha256(sources.encode()).hexdigest() == _READ, (
        f"uvicorn {uvicorn.__version__} has changed what "
        "anomaly_platform.serving.http.connections.BoundedHttp or "
        "anomaly_platform.cli.services.workers is made from. Read what has "
        "changed, run tests/integration/serving/http/test_connections.py and "
        "tests/security/test_busy_workers.py, then write the new digest here and move "
        "uvicorn's bounds in pyproject.toml."
    )
