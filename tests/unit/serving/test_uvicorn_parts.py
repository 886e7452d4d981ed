"""What the platform builds on is what uvicorn still has."""

from __future__ import annotations

import hashlib
import inspect

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.supervisors import multiprocess

#: Of the modules as they are in uvicorn 0.54.
_READ = "344f0ed1a88b938ffbb0f598215e15d4653d91d4ec9f5afee0ba512f8b4129bf"


def test_the_classes_are_those_that_were_subclassed() -> None:
    sources = "".join(map(inspect.getsource, (httptools_impl, flow_control, multiprocess)))
    assert hashlib.sha256(sources.encode()).hexdigest() == _READ, (
        f"uvicorn {uvicorn.__version__} has changed what "
        "anomaly_platform.serving.http.connections.BoundedHttp or "
        "anomaly_platform.cli.services.workers.PatientProcess is made from. Read what has "
        "changed, run tests/integration/serving/http/test_connections.py and "
        "tests/security/test_busy_workers.py, then write the new digest here and move "
        "uvicorn's bounds in pyproject.toml."
    )
