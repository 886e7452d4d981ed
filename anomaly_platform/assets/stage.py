"""What every stage's asset says of itself, whatever the stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dagster import AssetDep, AssetsDefinition, DailyPartitionsDefinition, asset

from anomaly_platform.assets.partitions import SINGLE_RUN
from anomaly_platform.streams import Stream


def stage_asset(
    stream: Stream,
    stage: str,
    *,
    deps: Sequence[AssetDep | str] = (),
    tools: frozenset[str],
    tag: str,
    description: str,
    days: DailyPartitionsDefinition | None = None,
    resources: frozenset[str] = frozenset(),
    **more: Any,
) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """Return the decorator of the asset ``[stream, stage]``.

    Parameters
    ----------
    deps
        What it is made from: stages of the stream by name, or with other partitions.
    tools
        What it is made with, for people.
    tag
        Of the stage.
    days
        Its partitions, several of which one run may work through.
    resources
        What it needs besides the platform.
    more
        See ``dagster.asset``.
    """
    decorator: Callable[[Callable[..., Any]], AssetsDefinition] = asset(
        key=stream.key(stage),
        deps=[stream.key(one) if isinstance(one, str) else one for one in deps],
        partitions_def=days,
        backfill_policy=None if days is None else SINGLE_RUN,
        group_name=stream.name,
        kinds=set(tools),
        owners=list(stream.owners),
        tags={"stage": tag},
        description=description,
        required_resource_keys={"platform", *resources},
        **more,
    )
    return decorator
