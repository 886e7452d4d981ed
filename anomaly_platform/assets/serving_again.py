"""What happens when the version in service cannot be used: the one before takes its place.

Belongs here: that step, and who is told of it. The API keeps what it has in memory instead.
"""

from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


def put_previous_in_place(
    platform: Platform, stream: Stream, version: int, error: Exception
) -> tuple[str, bool]:
    """Let the version before serve again, if there is one that can.

    Returns
    -------
    tuple of str and bool
        What is wrong and what became of it, in words; whether another version serves now.
    """
    kind, bundles = platform.kind(stream), platform.warehouse.bundles
    reason = f"version {version} cannot be loaded: {type(error).__name__}: {error}"
    back = bundles.previous(stream.name, stream.scored_by)
    if back is None:
        return f"{reason}; there is no other version to serve", False
    try:
        kind.verify(back)
    except Exception as second:  # the alert says so
        return f"{reason}; nor can version {back}: {second}", False
    bundles.promote_set(stream.name, kind.members(back), reason)
    return f"{reason}; version {back} serves instead", True


def tell_of_unusable(platform: Platform, stream: Stream, version: int, finding: str) -> None:
    """Raise the alert that the daily upkeep resolves once the version in service can be used."""
    alert = Alert(
        kind="model_disabled",
        fingerprint=fingerprint("model_disabled", stream.name, "bundle"),
        subject="bundle",
        severity="critical",
        title=f"{stream.name}: {finding}"[:500],
        stream=stream.name,
        details={"version": version, "reason": finding},
        occurrence=f"version {version}",
    )
    with platform.warehouse.transactions.begin() as connection:
        platform.outbox.raise_alert(connection, alert)
