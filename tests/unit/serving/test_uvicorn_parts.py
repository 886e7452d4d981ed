"""What ``serving.connections`` builds on is what uvicorn still has."""

from __future__ import annotations

import hashlib
import inspect

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl

#: Of the two modules as they are in uvicorn 0.54.
_READ = "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455"


def test_the_protocol_is_the_one_that_was_subclassed() -> None:
    sources = "".join(map(inspect.getsource, (httptools_impl, flow_control)))
    assert hashlib.sha256(sources.encode()).hexdigest() == _READ, (
        f"uvicorn {uvicorn.__version__} has changed the protocol that "
        "anomaly_platform.serving.http.connections.BoundedHttp is made from. Read what has "
        "changed, run "
        "tests/integration/serving/test_connections.py, then write the new digest here and move "
        "uvicorn's bounds in pyproject.toml."
    )
