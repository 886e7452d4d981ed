"""Routes: which channel gets which messages.

A channel's route is a least severity and a set of kinds. The defaults are below; the setting
``ANOMALY_ALERT_ROUTES`` replaces them channel by channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from anomaly_platform.notifications.channels.base import Channel, Notification
from anomaly_platform.notifications.outbox import Kind, Severity
from anomaly_platform.settings import SettingsError
from anomaly_platform.streams.bindings import EMS_CHANNEL

_RANKS: Final = {severity: rank for rank, severity in enumerate(get_args(Severity))}
_KINDS: Final = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class Route:
    """What a channel gets.

    Attributes
    ----------
    least : str
        Least severity.
    kinds : frozenset of str
        Kinds of alerts.
    stream : str or None
        Only this stream's; None means every one's.
    """

    least: str
    kinds: frozenset[str] = _KINDS
    stream: str | None = None

    def takes(self, notification: Notification) -> bool:
        """Return whether the channel gets this message."""
        return (
            notification.kind in self.kinds
            and _RANKS[notification.severity] >= _RANKS[self.least]
            and self.stream in (None, notification.stream)
        )


_FAULTS: Final = frozenset(
    {"run_failed", "check_failed", "gate_failed", "model_disabled", "quality", "storage"}
)
DEFAULT_ROUTES: Final[Mapping[str, Route]] = {
    "webhook": Route("info"),
    "email": Route("warning"),
    "apprise": Route("warning"),
    "mqtt": Route("info", frozenset({"anomaly", "model_trained", "model_retrained"})),
    "github": Route("warning", _FAULTS),
    "ems": Route("warning", frozenset({"anomaly"}), EMS_CHANNEL),
}


class Routes:
    """The route of each sort of channel.

    Parameters
    ----------
    text : str
        ``channel=severity`` or ``channel=severity:kind,kind``, joined by semicolons.

    Raises
    ------
    SettingsError
        When the text cannot be understood; the message says what is possible.

    Examples
    --------
    >>> Routes("email=critical:anomaly").of("email").least
    'critical'
    """

    def __init__(self, text: str = "") -> None:
        self._routes = {**DEFAULT_ROUTES, **dict(map(_parse, filter(str.strip, text.split(";"))))}

    def of(self, kind: str) -> Route:
        """Return the route of a sort of channel."""
        return self._routes[kind]

    def channels_for(self, notification: Notification, channels: list[Channel]) -> list[str]:
        """Return the names of the channels that get a message."""
        return [one.name for one in channels if self.of(one.kind).takes(notification)]


def _parse(entry: str) -> tuple[str, Route]:
    channel, _, rule = (part.strip() for part in entry.partition("="))
    severity, _, listed = (part.strip() for part in rule.partition(":"))
    kinds = frozenset(kind.strip() for kind in listed.split(",")) if listed else None
    for what, given, known in (
        ("channel", {channel}, set(DEFAULT_ROUTES)),
        ("severity", {severity}, set(_RANKS)),
        ("kind", kinds or set(), _KINDS),
    ):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise SettingsError(
                f"ANOMALY_ALERT_ROUTES: there is no {what} {unknown[0]!r} in {entry.strip()!r}; "
                f"there are {', '.join(sorted(known))}"
            )
    before = DEFAULT_ROUTES[channel]
    return channel, Route(severity, before.kinds if kinds is None else kinds, before.stream)
