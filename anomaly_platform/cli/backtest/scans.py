"""``anomaly backtest scans``: a file of scans in, the enhanced response out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console

from anomaly_platform.cli.backtest.scan_labels import (
    comparison,
    count_found,
    findings,
    known_from_column,
    known_from_file,
    without_unread_labels,
)
from anomaly_platform.cli.progress import spinner
from anomaly_platform.cli.rows import figure_table
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import (
    SCAN_FIELDS,
    ColumnMapping,
    MappingError,
    listed,
)
from anomaly_platform.streams import BARCODE

if TYPE_CHECKING:
    from rich.progress import Progress

    from anomaly_platform.ingest.layout.context import Layout
    from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
    from anomaly_platform.ml.features.scans.reference import ScanReference
    from anomaly_platform.ml.scans.learning import Say
    from anomaly_platform.ml.scans.response import BarcodeTotals, Id, Silence
    from anomaly_platform.ml.scans.scoring import BarcodeModels

_START = datetime(1970, 1, 2, tzinfo=UTC)
#: Fields without which less can be said of a scan.
_TELLING = ("location_id", "business_step", "event_type")


@dataclass(frozen=True, slots=True)
class Scans:
    """Valid scans of a file, what became of the other rows, and what of it is left out."""

    frame: pl.DataFrame
    refused: pl.DataFrame
    duplicates: int
    columns: Mapping[str, str]
    notes: Sequence[str]


def backtest_scans(
    file: Path,
    out: Path,
    *,
    train: Path | None,
    reference: Path | None,
    labels: Path | None,
    mapping: ColumnMapping,
    seed: int,
    console: Console,
) -> None:
    """Judge the scans of a file and write the response.

    Parameters
    ----------
    file : Path
        Scans: CSV, JSON (``{"data": […]}`` or a list), JSON Lines or Parquet, gzipped or not.
    out : Path
        Receives the response as JSON.
    train : Path or None
        What to learn from; None learns from the file itself when it is large enough, each half
        judged by what the other taught, and lets the rules speak alone when it is not. Labels are
        never learned from.
    reference : Path or None
        Folder with ``locations.csv`` and the like, or one such file; None takes a folder
        ``reference`` beside the file, if there is one.
    labels : Path or None
        CSV with ``event_id`` and ``kind``: what is known, for the summary only; None takes the
        file's own column of labels, if it has one.
    mapping : ColumnMapping
        Which columns of `file` and `train` are which fields, where their names do not tell.
    seed : int
        Of every random choice.
    console : Console
        Shows progress and the summary.

    Raises
    ------
    UnreadableFile
        When a file or the reference cannot be used; the message says why.
    """
    from anomaly_platform.cli.backtest.ids import numbers_of
    from anomaly_platform.ml.scans.learning import learn_scans
    from anomaly_platform.ml.scans.response import write_response
    from anomaly_platform.ml.scans.scoring import Together

    with spinner(console) as progress:
        step = partial(_step, progress)
        step(f"reading {file.name}")
        known = _reference(file, reference)
        scans = read_scans(file, mapping)
        known_scans = (
            known_from_column(scans.columns, scans.frame)
            if labels is None
            else known_from_file(labels, scans.frame)
        )
        features = BARCODE.features.compute(scans.frame.with_row_index("row_number"))
        learned_from: int | None = None
        if train is None:
            judges = _learn_in_folds(features, known, seed, step)
        else:
            history = BARCODE.features.compute(read_scans(train, mapping).frame)
            learned_from = history.height
            judges = [(features, learn_scans(history, known, seed=seed, say=step))]
        step(f"judging {features.height:,} scans")
        kept: list[pl.DataFrame] = []
        together = Together.of(judges[0][1], scans.frame["location_id"], "file")
        silence = _silence(judges[0][1], features.height, learned_from)

        def chunks() -> Iterator[pl.DataFrame]:
            for part, models in judges:
                scored_parts = models.in_chunks(part, together=together, left_out=silence.left_out)
                for scored in scored_parts if part.height else ():
                    kept.append(findings(scored))
                    yield scored

        with out.open("w", encoding="utf-8") as target:
            totals = write_response(
                target,
                chunks(),
                _file_id(file, scans),
                event_ids=numbers_of(file, scans.columns, scans.frame, "event_id"),
                silence=silence,
            )
    found = pl.concat(kept) if kept else findings(features.head(0))
    _summary(console, scans, judges[0][1], known, totals, count_found(found))
    if known_scans is not None:
        console.print(comparison(scans.frame, found, known_scans))
    console.print(f"{out}", soft_wrap=True)


def _step(progress: Progress, text: str, renamed: bool = False) -> None:
    """Show what is done now: below what was done before, or in its place."""
    last = progress.tasks[-1].id if progress.tasks else None
    if last is not None and renamed:
        progress.update(last, description=text)
        return
    if last is not None:
        progress.update(last, total=1, completed=1)
        progress.stop_task(last)
    progress.add_task(text, total=None)


def _file_id(file: Path, scans: Scans) -> Id:
    """Return the file's id as its first scan with one has it, and the file's name without any."""
    from anomaly_platform.cli.backtest.ids import numbers_of

    named = numbers_of(file, scans.columns, scans.frame, "file_id")
    written = scans.frame["file_id"].drop_nulls()
    return next(iter(named.values()), written[0] if len(written) else file.stem)


def read_scans(file: Path, mapping: ColumnMapping) -> Scans:
    """Read and validate all scans of a file, as the platform would, whatever their labels are.

    Labels are for the comparison alone: one that cannot be read takes no scan away.

    Raises
    ------
    UnreadableFile
        When the file cannot be understood; the message names the file and the fix.
    FileNotFoundError
        When it is not there.
    """
    from anomaly_platform.ingest.layout.context import LayoutContext
    from anomaly_platform.ingest.layout.scans import SCAN_READER
    from anomaly_platform.ingest.rejects import no_rejects
    from anomaly_platform.ingest.validation.scans import validate_scans

    now = datetime.now(UTC)
    context = LayoutContext(file.name, now, mapping, fields=SCAN_FIELDS, start=_START)
    raw, refused, duplicates = [pl.DataFrame(schema=SCAN_READER.schema)], [no_rejects()], 0
    try:
        for rows, rejects in SCAN_READER.read(file, context):
            raw.append(rows)
            refused.append(rejects)
    except MappingError as error:
        raise UnreadableFile(f"{file.name}: {error}") from None
    layout = SCAN_READER.layout(file, context) if any(map(len, raw)) else None
    columns = {} if layout is None else layout.columns
    labelled, unread_labels = without_unread_labels(pl.concat(raw), columns.get("label", ""))
    notes = [*([] if layout is None else _unnamed(layout)), *unread_labels]
    together = labelled.with_columns(batch_seq=pl.lit(1, pl.Int64))
    days: list[pl.DataFrame] = []
    for (day,), rows in together.group_by("event_date"):
        done = validate_scans(rows, day, start=_START, now=now)
        days.append(done.frame)
        refused.append(done.rejects.drop("batch_seq").match_to_schema(refused[0].schema))
        duplicates += done.duplicates
    if not days:
        days.append(validate_scans(together, now.date(), start=_START, now=now).frame)
    frame = pl.concat(days).with_columns(entity="epc_code")
    order = ("epc_code", "event_time", "event_id", "location_id", "business_step", "event_type")
    return Scans(frame.sort(order), pl.concat(refused), duplicates, columns, notes)


def _unnamed(layout: Layout) -> Iterator[str]:
    """Say which fields no column has although columns are left over."""
    missing = [name for name in _TELLING if name not in layout.columns]
    if missing and layout.ignored:
        yield (
            f"no column has {listed(missing)}; of the columns left out ({listed(layout.ignored)}) "
            f"name one with --map column={missing[0]}"
        )


def _reference(file: Path, folder: Path | None) -> ScanReference:
    from anomaly_platform.ml.features.scans.reference import ScanReference

    if folder is not None and not folder.exists():
        raise FileNotFoundError(f"there is no folder or file {folder}")
    try:
        return ScanReference.read(folder or file.parent / "reference")
    except ValueError as error:
        raise UnreadableFile(str(error)) from None


def _learn_in_folds(
    features: pl.DataFrame, reference: ScanReference, seed: int, step: Say
) -> list[tuple[pl.DataFrame, BarcodeModels]]:
    """Learn from the file itself: each half of the lots is judged by what the other half taught.

    A model that has seen an anomaly finds it less surprising; lots travel together, so that a unit
    whose lot was learned is as good as learned.
    """
    from anomaly_platform.ingest.bucketing import bucket_of
    from anomaly_platform.ml.scans.learning import LEAST_TO_LEARN, learn_scans

    lot = pl.col("epc_code").str.extract(r"^(.*)\.[^.]*\.[^.]*$").fill_null(pl.col("epc_code"))
    first = bucket_of(features.select(lot).to_series()) % 2 == 0
    parts = [features.filter(first), features.filter(~first)]
    if min(part.height for part in parts) < LEAST_TO_LEARN:
        return [(features, learn_scans(features.head(0), reference, seed=seed))]
    search: SvmSearch | None = None
    judges: list[tuple[pl.DataFrame, BarcodeModels]] = []
    for number, (judged, learned) in enumerate((parts, parts[::-1])):
        step(f"learning from half {number + 1}", False)
        models = learn_scans(learned, reference, seed=seed, search=search, say=step)
        if models.svm is not None and models.svm.svm.chosen is not None:
            # What the first search found serves both: they differ in rows, not in kind.
            nu, gamma, kernel = models.svm.svm.chosen
            search = replace(models.svm.svm.search, nu=(nu,), gamma=(gamma,), kernel=(kernel,))
        judges.append((judged, _calibrated_on(models, judged)))
    return judges


def _calibrated_on(models: BarcodeModels, judged: pl.DataFrame) -> BarcodeModels:
    """Calibrate on the half that is judged, of which the models have seen no lot.

    What is unusual is then unusual within the file: without labels, and with hindsight.
    """
    from anomaly_platform.ml.calibration.conformal import Calibration
    from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm
    from anomaly_platform.ml.detectors.sequence_lstm.calibrated import (
        TAIL_FLOOR,
        CalibratedSequence,
        doubtful,
    )
    from anomaly_platform.ml.scans.scoring import BarcodeModels, fit_fusion, ruled

    if models.lstm is None or models.svm is None:
        return models
    scans = ruled(models.rules, judged)
    believed = ~doubtful(scans)
    surprise, distance = models.lstm.judge(scans).raw, models.svm.judge(scans).raw
    lstm = CalibratedSequence(
        models.lstm.model, Calibration.fit(surprise[believed], tail_floor=TAIL_FLOOR)
    )
    svm = CalibratedSvm(
        models.svm.inputs,
        models.svm.svm,
        Calibration.fit(distance[believed], tail_floor=models.svm.svm.tail_floor),
    )
    return BarcodeModels(models.rules, lstm, svm, fit_fusion(scans, lstm, svm))


def _silence(models: BarcodeModels, judged: int, learned_from: int | None) -> Silence:
    """Return what cannot take part, known before a scan is judged.

    Parameters
    ----------
    models
        What judges.
    judged, learned_from
        How many scans the file has, and how many another file had to learn from; None where the
        file's own halves teach each other.
    """
    from anomaly_platform.ml.scans.learning import LEAST_TO_LEARN, silent_detectors
    from anomaly_platform.ml.scans.response import NO_COMPANIES, Silence

    scans, least = judged, 2 * LEAST_TO_LEARN
    if learned_from is not None:
        scans, least = learned_from, LEAST_TO_LEARN
    silence = Silence(detectors=silent_detectors(models, scans=scans, least=least))
    if models.rules.reference.companies.is_empty():
        silence.rules["epcFake"] = NO_COMPANIES
    return silence


def _summary(
    console: Console,
    scans: Scans,
    models: BarcodeModels,
    reference: ScanReference,
    totals: BarcodeTotals,
    found: tuple[int, int],
) -> None:
    counts = totals.file_anomaly_stats
    names = [name for name in ("lstm", "svm") if getattr(models, name) is not None]
    lines = {
        "judged": counts.total_events,
        "fake codes (epcFake)": counts.epc_fake_count,
        "duplicates (epcDup)": counts.epc_dup_count,
        "wrong places (locErr)": counts.loc_err_count,
        "wrong order (evtOrderErr)": counts.evt_order_err_count,
        "impossible journeys (jump)": counts.jump_count,
        "found in all": found[0],
        "… by no rule": found[1],
    }
    rows = [(what, f"{count:,}") for what, count in lines.items()]
    console.print(figure_table(("", "scans"), rows, "What was found"))
    console.print(
        f"Detectors: rules{''.join(', ' + name for name in names)}; "
        f"{reference.locations.height} places known; {scans.duplicates:,} duplicate rows, "
        f"{scans.refused.height:,} refused.",
        soft_wrap=True,
    )
    for blind in totals.blind_rules:
        said = f"  {blind.rule} could not judge {blind.events:,} of the scans: {blind.reason}"
        console.print(said, soft_wrap=True)
    for name, reason in {**totals.silent_detectors, **totals.left_out}.items():
        console.print(f"  {name}: {reason}", soft_wrap=True)
    for note in scans.notes:
        console.print(f"  {note}", soft_wrap=True, markup=False)
    reasons = scans.refused["reason"].value_counts(sort=True).head(5)
    for reason, count in reasons.iter_rows():
        console.print(f"  refused {count:,}: {reason}", soft_wrap=True)
