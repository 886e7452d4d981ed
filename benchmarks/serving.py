"""The API under load: predictions, ingest and barcode detection, each beside its goal, in one run.

    python benchmarks/serving.py [--workers N] [--quick]

Trains devices and a small supply network in a temporary folder, serves them with `anomaly api`,
puts load on it from the same machine, and writes docs/measured/speed_serving.md. Takes a few
minutes; --quick takes shorter loads and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import serving_barcode
import serving_ingest
import serving_predict
from serving_home import echo, prepared, service
from speed_table import machine, table

PAGE = Path(__file__).parents[1] / "docs/measured/speed_serving.md"
CLIENTS = (1, 4)
PREDICT_SHARE, PREDICT_P99_MS, INGEST_SHARE, ONE_CODE_S, THOUSAND_S = 0.5, 10.0, 0.4, 0.02, 0.3


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    seconds, rounds, requests = (2, 1, 80) if given.quick else (8, 3, 400)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)) as home:
        before = os.getloadavg()
        with service(home, given.workers) as ours:
            with echo(home, given.workers) as theirs:
                predict = serving_predict.measure(
                    theirs, ours, home.key, seconds=seconds, rounds=rounds
                )
            ingest = [
                serving_ingest.measure(
                    ours,
                    home.key,
                    home.database_url,
                    clients=clients,
                    requests=requests,
                    rounds=rounds,
                )
                for clients in CLIENTS
            ]
            barcode = serving_barcode.measure(ours, home.key, home.scans, repeats=15)
    spent = (time.monotonic() - began) / 60
    loads = [", ".join(f"{one:.1f}" for one in each) for each in (before, os.getloadavg())]
    lines = [
        "# Speed of the API",
        "",
        f"Made by `{command(given)}`, in one run of {spent:.0f} minutes on {machine()},",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}. Load averages before the first request",
        f"{loads[0]}, after the last {loads[1]}.",
        "",
        f"`anomaly api` with {given.workers} worker(s), the embedded PostgreSQL with fsync, and",
        "what loads them share the machine, so that only ratios mean anything elsewhere.",
        "",
        *goals(predict, ingest, barcode),
        *predict_section(predict),
        *ingest_section(ingest),
        *barcode_section(barcode),
    ]
    text = "\n".join(lines)
    print(text)
    if not given.quick:
        PAGE.write_text(text, encoding="utf-8")


def command(given: argparse.Namespace) -> str:
    """Return the command that makes this page."""
    more = "" if given.workers == 1 else f" --workers {given.workers}"
    return f"python benchmarks/serving.py{more}{' --quick' if given.quick else ''}"


def goals(
    predict: serving_predict.PredictFigures,
    ingest: list[serving_ingest.IngestFigures],
    barcode: serving_barcode.BarcodeFigures,
) -> list[str]:
    """Return the table of goals."""
    most = max(one.clients for one in ingest)
    rows = [
        (
            "predict one reading, share of the echo's requests/s",
            f"{predict.share:.2f}",
            f"≥ {PREDICT_SHARE}",
            predict.share >= PREDICT_SHARE,
        ),
        (
            "predict one reading, p99 at half load",
            f"{predict.at_half.p99_ms:.1f} ms",
            f"< {PREDICT_P99_MS:.0f} ms",
            predict.at_half.p99_ms < PREDICT_P99_MS,
        ),
        *(
            (
                f"ingest, {one.clients} client(s), of the rows/s of as many bare COPY",
                f"{one.share:.2f}",
                f"≥ {INGEST_SHARE}",
                one.share >= INGEST_SHARE,
            )
            for one in ingest
        ),
        (
            f"ingest, {most} clients, of the rows/s of one bare COPY",
            f"{ingest[-1].ingest / ingest[0].bare:.2f}",
            f"≥ {INGEST_SHARE}",
            ingest[-1].ingest / ingest[0].bare >= INGEST_SHARE,
        ),
        (
            "barcode, one code",
            f"{1e3 * barcode.one_code:.1f} ms",
            f"≤ {1e3 * ONE_CODE_S:.0f} ms",
            barcode.one_code <= ONE_CODE_S,
        ),
        (
            "barcode, 1,000 scans",
            f"{1e3 * barcode.thousand:.0f} ms",
            f"≤ {1e3 * THOUSAND_S:.0f} ms",
            barcode.thousand <= THOUSAND_S,
        ),
    ]
    return [
        table(
            ("what", "measured", "goal", "met"),
            [(what, found, goal, "yes" if met else "no") for what, found, goal, met in rows],
        )
    ]


def predict_section(predict: serving_predict.PredictFigures) -> list[str]:
    """Return the lines about predictions."""
    theirs, ours = predict.typical
    full, half = f"{serving_predict.CONNECTIONS} connections", "half load"
    rows = [
        (name, f"{one.per_second:,.0f}", f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.refused}")
        for name, one in ((f"echo, {full}", theirs), (f"prediction, {full}", ours))
    ]
    rows += [
        (name, f"{one.answered:,.0f}", f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", "0")
        for name, one in (
            (f"echo, {half}", predict.echo_at_half),
            (f"prediction, {half}", predict.at_half),
        )
    ]
    shares = ", ".join(f"{a.per_second / e.per_second:.2f}" for e, a in predict.rounds)
    return [
        "## Predictions",
        "",
        "`POST /api/v1/ml/predict` with one reading: key, limits, metrics and security headers",
        "included, of which the echo, a bare FastAPI route under the same server, has none. Both",
        f"take turns under wrk; the shares of the rounds are {shares}, and the middle one counts.",
        "Half load is half of the requests a second that predictions reached, sent at a fixed pace",
        "and timed from the moment when each was due.",
        "",
        table(("what", "requests/s", "p50, ms", "p99, ms", "refused"), rows),
    ]


def ingest_section(ingest: list[serving_ingest.IngestFigures]) -> list[str]:
    """Return the lines about ingest."""
    rows = [
        (
            f"{one.clients}",
            f"{one.ingest:,.0f}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.bare:,.0f}",
            f"{one.indexed:,.0f}",
            f"{one.share:.2f}",
        )
        for one in ingest
    ]
    return [
        "## Ingest",
        "",
        f"`POST /api/v1/telemetry` with {serving_ingest.ROWS} readings of as many devices in each",
        "request, stored, scored and committed when the answer comes, against COPY of the same",
        "batches into a table of four columns without any index, committed one by one. A worker",
        "writes over one connection, and what queued up goes together. COPY into a table with the",
        "columns and indexes of ours, which hold each reading once and find the past of a series,",
        f"reaches {ingest[0].indexed / ingest[0].bare:.2f} of bare COPY by itself.",
        "",
        table(
            (
                "clients",
                "rows/s",
                "p50, ms",
                "p99, ms",
                "bare COPY, rows/s",
                "COPY into a table like ours",
                "share of bare COPY",
            ),
            rows,
        ),
    ]


def barcode_section(barcode: serving_barcode.BarcodeFigures) -> list[str]:
    """Return the lines about barcode detection."""
    rows = [
        (name, f"{1e3 * median:.1f}", f"{1e3 * worst:.1f}")
        for name, median, worst in (
            ("all scans of one code", barcode.one_code, barcode.one_code_worst),
            ("1,000 scans", barcode.thousand, barcode.thousand_worst),
        )
    ]
    return [
        "## Barcode detection",
        "",
        "`POST /api/v1/barcode/detect` with rules, sequence model, SVM and fusion, under their",
        "time limits; each request asks about other scans than the one before.",
        "",
        table(("request", "median, ms", "slowest, ms"), rows),
    ]


if __name__ == "__main__":
    main()
