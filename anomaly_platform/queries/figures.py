# ruff: noqa: S608 - statements are put together from constants of this module
"""Figures of models, their quality, scored rows and alerts, summed up by stream.

Values per series would be without a bound; those are for SQL. Here are mean, least or greatest, and
how many miss their target.
"""

from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

ACCURACY_TARGET: Final = 0.9
_FALSE_POSITIVE_TARGET: Final = 0.1


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the platform, and the statement whose rows are its values.

    Attributes
    ----------
    name, description, labels
        Name, meaning, and what tells its values apart.
    sql : str
        Returns one column per label and the value last; a null value is left out.
    counts : bool
        Whether it only ever grows.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    sql: str
    counts: bool = False


_QUALITY: Final = """
SELECT stream, model_type, statistic, value FROM (
    SELECT stream, model_type, avg({column}) AS mean, {worst}({column}) AS worst
    FROM ml_models WHERE status = 'active' GROUP BY stream, model_type) AS per_stream
CROSS JOIN LATERAL (VALUES ('mean', mean), ('worst', worst)) AS each (statistic, value)
"""

FIGURES: Final = (
    Figure(
        "anomaly_models_trained",
        "Bundles that were trained.",
        ("stream", "detector"),
        "SELECT stream, detector, count(*) FROM bundles WHERE trained_at IS NOT NULL "
        "GROUP BY stream, detector",
        counts=True,
    ),
    Figure(
        "anomaly_training_failures",
        "Trainings that ended without a bundle.",
        ("stream", "detector"),
        "SELECT stream, detector, count(*) FILTER (WHERE status = 'failed') FROM bundles "
        "GROUP BY stream, detector",
        counts=True,
    ),
    Figure(
        "anomaly_models",
        "Models of single series, by what they are good for.",
        ("stream", "status"),
        "SELECT m.stream, m.status, count(*) FROM ml_models AS m "
        "JOIN champions AS c ON c.stream = m.stream AND c.detector = m.model_type "
        "AND c.version = m.bundle_version GROUP BY m.stream, m.status",
    ),
    Figure(
        "anomaly_model_accuracy_ratio",
        "Balanced accuracy of the models in service, 0 to 1: mean and worst of a stream.",
        ("stream", "detector", "statistic"),
        _QUALITY.format(column="accuracy", worst="min"),
    ),
    Figure(
        "anomaly_model_false_positive_ratio",
        "False-positive rate of the models in service, 0 to 1: mean and worst of a stream.",
        ("stream", "detector", "statistic"),
        _QUALITY.format(column="false_positive_rate", worst="max"),
    ),
    Figure(
        "anomaly_models_off_target",
        "Models in service that miss a target: accuracy of 0.9, false-positive rate of 0.1.",
        ("stream", "target"),
        "SELECT stream, target, count(*) FILTER (WHERE missed) FROM ml_models "
        f"CROSS JOIN LATERAL (VALUES ('accuracy', accuracy < {ACCURACY_TARGET}), "
        f"('false_positive_rate', false_positive_rate > {_FALSE_POSITIVE_TARGET})) "
        "AS each (target, missed) WHERE status = 'active' GROUP BY stream, target",
    ),
    Figure(
        "anomaly_model_age_seconds",
        "Seconds since the champion was trained.",
        ("stream", "detector"),
        "SELECT c.stream, c.detector, extract(epoch FROM now() - b.trained_at) FROM champions AS c "
        "JOIN bundles AS b USING (stream, detector, version)",
    ),
    Figure(
        "anomaly_model_version",
        "Version of the champion.",
        ("stream", "detector"),
        "SELECT stream, detector, version FROM champions",
    ),
    Figure(
        "anomaly_scored_rows",
        "Rows in the scored days, and those of them that are flagged.",
        ("stream", "kind"),
        "SELECT stream, kind, sum(value) FROM scored_days CROSS JOIN LATERAL "
        "(VALUES ('all', rows), ('anomalies', anomalies)) AS each (kind, value) "
        "GROUP BY stream, kind",
    ),
    Figure(
        "anomaly_alerts_open",
        "Alerts that are open.",
        ("kind", "severity"),
        "SELECT kind, severity, count(*) FROM alerts WHERE state = 'open' GROUP BY kind, severity",
    ),
)


async def read_figures(
    connection: AsyncConnection[Any],
) -> list[tuple[Figure, list[tuple[Any, ...]]]]:
    """Return every figure with its rows: one column per label, and the value last."""
    return [
        (figure, await (await connection.execute(figure.sql.encode())).fetchall())
        for figure in FIGURES
    ]
