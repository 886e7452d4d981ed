"""Checks of ``<detector>_model`` and ``champion``: whole, small, and good enough."""

from collections.abc import Iterable, Iterator
from typing import Any

from dagster import AssetChecksDefinition

from anomaly_platform.checks.scope import Days, checks_of
from anomaly_platform.kinds.base import StreamKind
from anomaly_platform.kinds.findings import Check, Finding
from anomaly_platform.platform import Platform


def build_model_checks(described: StreamKind[Any]) -> list[AssetChecksDefinition]:
    """Return the checks of every detector's newest bundle."""
    return [_model_checks(described, one.detector, one.stage) for one in described.detectors]


def _model_checks(described: StreamKind[Any], detector: str, stage: str) -> AssetChecksDefinition:
    stream, quality = described.stream, described.quality
    checks = opens, size, good = (
        Check("bundle_opens", described.bundle_opens, blocking=True),
        Check("bundle_size", described.bundle_size),
        Check(quality.check, quality.description.format(described.least_quality), warns=True),
    )

    def look(platform: Platform, _: Days) -> Iterator[Finding]:
        kind = platform.kind(stream)
        every = kind.parts.bundles.all(stream.name, detector)
        newest = next((one for one in every if one.path), None)
        if newest is None:
            yield from (Finding(one.name, [], "nothing has been trained yet") for one in checks)
            return
        problems, weight, allowed, what = [], 0, 0, ""
        try:
            weight, allowed, what = kind.weigh(newest)
        except Exception as error:
            problems.append(f"version {newest.version}: {error}")
        yield Finding(opens.name, problems, f"version {newest.version}")
        told = f"{weight:,} bytes{what}"
        heavy = [f"{told}; {allowed:,} are allowed"] if weight > allowed else []
        yield Finding(size.name, heavy, told, {"bytes": weight})
        yield Finding(good.name, *kind.quality.problems(newest, kind.least_quality))

    return checks_of(stream, stage, checks, look)


def build_champion_checks(described: StreamKind[Any]) -> AssetChecksDefinition:
    """Return the checks of what serves."""
    stream = described.stream

    def look(platform: Platform, _: Days) -> Iterable[Finding]:
        return platform.kind(stream).look_at_champion()

    return checks_of(stream, "champion", described.champion_checks, look)
