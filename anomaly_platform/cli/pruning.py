"""``anomaly prune``: what goes, and how many bytes."""

from rich.table import Table

from anomaly_platform.cli.rows import figure_table
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
    table = figure_table(
        ("what", "count", "bytes"),
        [
            (one.what, f"{one.count:,}", "-" if one.size is None else f"{one.size:,}")
            for one in found
        ],
        "What would go" if dry_run else "What went",
    )
    table.caption = f"{total(found):,} bytes that are known; `-` where only Dagster knows"
    return table
