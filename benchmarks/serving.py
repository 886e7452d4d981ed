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

from service import barcode as serving_barcode
from service import ingest as serving_ingest
from service import predict as serving_predict
from service.home import echo, least, prepared, service
from speed_table import machine, table

PAGE = Path(__file__).parents[1] / "docs/measured/speed_serving.md"
CLIENTS = (1, 4)
Row = tuple[str, str, str, str]
PREDICT_SHARE, PREDICT_P99_MS, INGEST_SHARE, ONE_CODE_S, THOUSAND_S = 0.65, 2.5, 0.3, 0.02, 0.3


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
                predict = serving_predict.measure(theirs, ours, home.key, seconds, rounds)
            with least(home, given.workers) as theirs:
                ingest = [
                    serving_ingest.measure(ours, theirs, home, clients, requests, rounds)
                    for clients in CLIENTS
                ]
            barcode = serving_barcode.measure(ours, home)
    spent = (time.monotonic() - began) / 60
    loads = [", ".join(f"{one:.1f}" for one in each) for each in (before, os.getloadavg())]
    head = f"""# Speed of the API

Made by `{command(given)}`, in one run of {spent:.0f} minutes on {machine()},
{time.strftime("%Y-%m-%d", time.gmtime())}. Load averages before the first request
{loads[0]}, after the last {loads[1]}.

`anomaly api` with {given.workers} worker(s), the embedded PostgreSQL with fsync, and
what loads them share the machine, so that only ratios mean anything elsewhere.
"""
    sections = (goals(predict, ingest, barcode), predict_section(predict))
    text = "\n".join([head, *sections, ingest_section(ingest), barcode_section(barcode)])
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
) -> str:
    """Return the table of goals."""
    most = max(one.clients for one in ingest)
    p99 = predict.at_half.p99_ms
    rows = [
        _share("predict one reading, share of the echo's requests/s", predict.share, PREDICT_SHARE),
        _goal(
            "predict one reading, p99 at half load",
            f"{p99:.1f} ms",
            f"≤ {PREDICT_P99_MS:g} ms",
            met=p99 <= PREDICT_P99_MS,
        ),
        *(
            _share(
                f"ingest, {one.clients} client(s), of the rows/s of as many bare COPY",
                one.share,
                INGEST_SHARE,
            )
            for one in ingest
        ),
        _share(
            f"ingest, {most} clients, of the rows/s of one bare COPY",
            ingest[-1].ingest / ingest[0].bare,
            INGEST_SHARE,
        ),
        *(
            _goal(what, f"{1e3 * took:.{digits}f} ms", f"≤ {1e3 * limit:.0f} ms", met=took <= limit)
            for what, took, limit, digits in (
                ("barcode, one code", barcode.one_code, ONE_CODE_S, 1),
                ("barcode, 1,000 scans", barcode.thousand, THOUSAND_S, 0),
            )
        ),
    ]
    return table(("what", "measured", "goal", "met"), rows)


def _share(what: str, found: float, least: float) -> Row:
    return _goal(what, f"{found:.2f}", f"≥ {least}", met=found >= least)


def _goal(what: str, found: str, wanted: str, *, met: bool) -> Row:
    return what, found, wanted, "yes" if met else "no"


def predict_section(predict: serving_predict.PredictFigures) -> str:
    """Return the chapter about predictions."""
    theirs, ours = predict.typical
    full, half = f"{serving_predict.CONNECTIONS} connections", "half load"
    rows = [
        (name, f"{rate:,.0f}", f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{refused}")
        for name, one, rate, refused in (
            (f"echo, {full}", theirs, theirs.per_second, theirs.refused),
            (f"prediction, {full}", ours, ours.per_second, ours.refused),
            (f"echo, {half}", predict.echo_at_half, predict.echo_at_half.answered, 0),
            (f"prediction, {half}", predict.at_half, predict.at_half.answered, 0),
        )
    ]
    shares = ", ".join(f"{a.per_second / e.per_second:.2f}" for e, a in predict.rounds)
    return f"""## Predictions

`POST /api/v1/ml/predict` with one reading: key, limits, metrics and security headers
included, of which the echo, a bare FastAPI route under the same server, has none. Both
take turns under wrk; the shares of the rounds are {shares}, and the middle one counts.
Half load is half of the requests a second that predictions reached, sent at a fixed pace
and timed from the moment when each was due.

{table(("what", "requests/s", "p50, ms", "p99, ms", "refused"), rows)}"""


def ingest_section(ingest: list[serving_ingest.IngestFigures]) -> str:
    """Return the chapter about ingest."""
    rows = [
        (
            *(f"{one.clients}", f"{one.ingest:,.0f}", f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}"),
            *(f"{one.bare:,.0f}", f"{one.indexed:,.0f}", f"{one.least:,.0f}"),
            *(f"{one.share:.2f}", f"{one.most:.2f}"),
        )
        for one in ingest
    ]
    header = ("clients", "rows/s", "p50, ms", "p99, ms")
    of_copy = ("bare COPY, rows/s", "COPY into a table like ours", "least server, rows/s")
    shares = ("ours, share of bare COPY", "least server's share")
    return f"""## Ingest

`POST /api/v1/telemetry` with {serving_ingest.ROWS} readings of as many devices in each
request, stored, scored and committed when the answer comes, against COPY of the same
batches into a table of four columns without any index, committed one by one. A worker
writes over one connection, and what queued up goes together. COPY into a table with the
columns and indexes of ours, which hold each reading once and find the past of a series,
reaches {ingest[0].indexed / ingest[0].bare:.2f} of bare COPY by itself.

The least server takes the same requests under the same framework and as many processes: it parses
the body, and inserts into a table like that of bare COPY with one statement and one commit. It
asks for no key, checks and judges nothing, and answers with a number.

{table((*header, *of_copy, *shares), rows)}"""


def barcode_section(barcode: serving_barcode.BarcodeFigures) -> str:
    """Return the chapter about barcode detection."""
    rows = [
        (name, f"{1e3 * median:.1f}", f"{1e3 * worst:.1f}")
        for name, median, worst in (
            ("all scans of one code", barcode.one_code, barcode.one_code_worst),
            ("1,000 scans", barcode.thousand, barcode.thousand_worst),
        )
    ]
    return f"""## Barcode detection

`POST /api/v1/barcode/detect` with rules, sequence model, SVM and fusion, under their
time limits; each request asks about other scans than the one before.

{table(("request", "median, ms", "slowest, ms"), rows)}"""


if __name__ == "__main__":
    main()
