"""One-row predictions over HTTP against a bare FastAPI route that echoes the same body.

Both are served in the same way, wrk beside them on the same machine, in turns, so that a busy
moment meets both. Then both get half of the load that predictions can take, at a fixed pace.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass

from service.wire import Paced, paced, request

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


def measure(echo: str, service: str, key: str, seconds: int, rounds: int) -> PredictFigures:
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
    bases, paths = (echo, service), ("/echo", "/api/v1/ml/predict")
    routes = [base + path for base, path in zip(bases, paths, strict=True)]
    for url in routes:
        wrk(url, key, 2)
    found = [(wrk(routes[0], key, seconds), wrk(routes[1], key, seconds)) for _ in range(rounds)]
    half = sorted(ours.per_second for _, ours in found)[len(found) // 2] / 2
    bodies = [request(path, key, BODY.encode()) for path in paths]
    slow = [
        paced(base, body, per_second=half, seconds=seconds, connections=CONNECTIONS)
        for base, body in zip(bases, bodies, strict=True)
    ]
    return PredictFigures(found, *slow)


def wrk(url: str, key: str, seconds: int) -> Load:
    """Put load on a URL."""
    script = (
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {key}"\nwrk.body = [[{BODY}]]\n'
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", file.name]
        text = subprocess.run([*command, url], check=True, stdout=subprocess.PIPE, text=True).stdout
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    latencies = dict(
        re.findall(r"^\s*(50|99)%\s+([\d.]+(?:us|ms|s))\s*$", text, flags=re.MULTILINE)
    )
    if rate is None or len(latencies) < 2:
        raise ValueError(text)
    p50, p99 = (_milliseconds(latencies[share]) for share in ("50", "99"))
    return Load(float(rate[1]), p50, p99, int(refused[1]) if refused else 0)


def _milliseconds(text: str) -> float:
    number = text.rstrip("ums")
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[text.removeprefix(number)]
