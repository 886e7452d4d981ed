"""One-row predictions over HTTP against a bare FastAPI route that echoes the same body.

Both are served in the same way, wrk beside them on the same machine, in turns, so that a busy
moment meets both. Then both get half of the load that predictions can take, at a fixed pace.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass

from serving_wire import Paced, paced, request

BODY = '{"device_id": "press-001", "metric_name": "temperature", "value": 49.2}'
CONNECTIONS = 16


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int


@dataclass(frozen=True)
class PredictFigures:
    """Each round's loads of the echo and of predictions, and both at half load."""

    rounds: list[tuple[Load, Load]]
    echo_at_half: Paced
    at_half: Paced

    @property
    def share(self) -> float:
        """Predictions a second over echoes a second: the middle one of the rounds."""
        shares = sorted(ours.per_second / echo.per_second for echo, ours in self.rounds)
        return shares[len(shares) // 2]

    @property
    def typical(self) -> tuple[Load, Load]:
        """The round that has this share."""
        return min(
            self.rounds, key=lambda one: abs(one[1].per_second / one[0].per_second - self.share)
        )


def measure(echo: str, service: str, key: str, *, seconds: int, rounds: int) -> PredictFigures:
    """Measure both services.

    Parameters
    ----------
    echo, service
        Their addresses.
    key
        Of the second; the first gets it as well and does not look at it.
    seconds
        Of each load.
    rounds
        How often both take their turn at full load.
    """
    routes = (f"{echo}/echo", f"{service}/api/v1/ml/predict")
    for url in routes:
        wrk(url, key, CONNECTIONS, 2)
    found = [
        (wrk(routes[0], key, CONNECTIONS, seconds), wrk(routes[1], key, CONNECTIONS, seconds))
        for _ in range(rounds)
    ]
    half = sorted(ours.per_second for _, ours in found)[len(found) // 2] / 2
    slow = [
        paced(
            base_url,
            request(path, key, BODY.encode()),
            per_second=half,
            seconds=seconds,
            connections=CONNECTIONS,
        )
        for base_url, path in ((echo, "/echo"), (service, "/api/v1/ml/predict"))
    ]
    return PredictFigures(found, *slow)


def wrk(url: str, key: str, connections: int, seconds: int) -> Load:
    """Put load on a URL."""
    script = (
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {key}"\nwrk.body = [[{BODY}]]\n'
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", file.name]
        text = subprocess.run([*command, url], check=True, stdout=subprocess.PIPE, text=True).stdout
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if rate is None:
        raise ValueError(text)
    return Load(
        float(rate[1]),
        _latency(text, "50"),
        _latency(text, "99"),
        int(refused[1]) if refused else 0,
    )


def _latency(text: str, share: str) -> float:
    """Return a percentile of the latency in milliseconds."""
    found = re.search(rf"^\s*{share}%\s+([\d.]+)(us|ms|s)$", text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(text)
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]
