"""``anomaly prune``: what goes, and how many bytes."""

from __future__ import annotations

from rich.table import Table

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.runtime.housekeeping import prune
from anomaly_platform.runtime.pruning import total


def pruned_table(runtime: Runtime, *, dry_run: bool) -> Table:
    """Prune, or find out what would go; return it as a table."""
    platform = runtime.platform
    found = list(
        prune(
            platform.settings,
            platform.warehouse.transactions,
            platform.lake,
            runtime.instance,
            dry_run=dry_run,
        )
    )
    table = Table(
        title="What would go" if dry_run else "What went",
        caption=f"{total(found):,} bytes that are known; `-` where only Dagster knows",
    )
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_column("bytes", justify="right")
    for one in found:
        table.add_row(one.what, f"{one.count:,}", "-" if one.size is None else f"{one.size:,}")
    return table
