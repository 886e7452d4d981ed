"""Types of settings, each with the check that its values pass.

No message repeats a value, which may hold a password.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_POSTGRES_SCHEMES: Final = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2")
_ORIGIN: Final = re.compile(
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?"
)
_OWNER: Final = re.compile(r"team:[A-Za-z0-9_.\- ]+|[^@\s:]+@[^@\s:]+\.[^@\s:]+")
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]")


def split_list(text: str) -> list[str]:
    """Return the entries of a list that is written with commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def split_numbers(text: str) -> dict[str, float]:
    """Return the entries of a list such as ``rules=0.4,lstm=0.35``."""
    pairs = (entry.partition("=") for entry in split_list(text))
    return {name.strip(): float(number) for name, _, number in pairs}


def _of_detectors(least: float, names: set[str], example: str) -> AfterValidator:
    """Return the check of a number for some of the detectors of scans."""

    def check(value: str) -> str:
        try:
            found = split_numbers(value)
        except ValueError:
            found = {}
        if not found or not set(found) <= names:
            raise ValueError(f"has to look like {example}")
        if not all(least <= number < math.inf for number in found.values()):
            raise ValueError(f"each number has to be {least:g} or more")
        return value

    return AfterValidator(check)


def _not_all_zero(value: str) -> str:
    if len(split_numbers(value)) == 3 and not any(split_numbers(value).values()):
        raise ValueError("one weight at least has to be above 0")
    return value


def _absolute(location: str) -> str:
    """Make a plain path absolute and leave a URL as it is.

    Child processes are started in other folders, where a relative path would mean another place.
    """
    return location if "://" in location else str(Path(location).expanduser().absolute())


def _each(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    """Return the check of a list whose entries match a pattern."""

    def check(value: str) -> str:
        if not all(pattern.fullmatch(entry) for entry in split_list(value)):
            raise ValueError(f"each has to {expected}")
        return value

    return AfterValidator(check)


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        msg = "is not a known IANA time zone, such as UTC or Europe/Berlin"
        raise ValueError(msg) from None
    return value


def _is_url(url: str, fits: Callable[[SplitResult], bool]) -> bool:
    try:
        parts = urlsplit(url)
        return fits(parts) and parts.port != 0
    except ValueError:
        return False


def _url(example: str, fits: Callable[[SplitResult], bool]) -> AfterValidator:
    """Return the check of a secret that is one URL."""

    def check(value: SecretStr) -> SecretStr:
        if not _is_url(value.get_secret_value(), fits):
            raise ValueError(f"has to look like {example}")
        return value

    return AfterValidator(check)


def _urls(*schemes: str) -> AfterValidator:
    """Return the check of a secret that is URLs of these schemes, separated by blanks."""

    def check(value: SecretStr) -> SecretStr:
        for url in value.get_secret_value().split():
            if not _is_url(url, lambda parts: parts.scheme in schemes and bool(parts.hostname)):
                raise ValueError(f"has to look like {schemes[0]}://host:port")
        return value

    return AfterValidator(check)


def _http_address(value: str) -> str:
    if not _is_url(value, lambda url: url.scheme in {"http", "https"} and bool(url.hostname)):
        raise ValueError("has to look like https://host:port")
    return value.rstrip("/")


EMS_COLUMNS: Final = {
    "assets": ("id", "name", "type", "status"),
    "metrics": ("id", "assetId", "metricName", "value", "timestamp"),
    "events": ("id", "assetId", "type", "severity", "message", "timestamp", "metadata"),
    "alerts": ("id", "assetId", "title", "severity", "message", "timestamp", "metadata"),
}
"""The tables of an EMS and their columns."""


def ems_names(text: str) -> dict[str, str]:
    """Return how the EMS calls ``assets`` or ``metrics.value``, by our name.

    Raises
    ------
    ValueError
        When a table or column is none of ours, or a name is missing that has to be there.
    """
    found = {}
    for entry in split_list(text):
        ours, equals, theirs = (part.strip() for part in entry.partition("="))
        table, _, column = ours.partition(".")
        known = ("", *EMS_COLUMNS[table]) if table in EMS_COLUMNS else ()
        if not equals or column not in known:
            raise ValueError(
                "each has to be table=name or table.column=name, of "
                + "; ".join(f"{name} ({', '.join(of)})" for name, of in EMS_COLUMNS.items())
            )
        if not theirs and (not column or column in ("assetId", "metricName", "value", "timestamp")):
            raise ValueError(f"{ours} needs a name")
        found[ours] = theirs
    return found


def _ems_tables(value: str) -> str:
    ems_names(value)
    return value


def _upper_case(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535)]
Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
Location = Annotated[str, AfterValidator(_absolute)]
DatabaseName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$-]{0,62}$")]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
_WEIGHED: Final = {"rules", "lstm", "svm"}
DetectorWeights = Annotated[
    str,
    _of_detectors(0.0, _WEIGHED, "rules=0.4,lstm=0.35,svm=0.25"),
    AfterValidator(_not_all_zero),
]
DetectorSeconds = Annotated[
    str, _of_detectors(0.001, _WEIGHED | {"habits"}, "rules=1,lstm=1.5,svm=1,habits=1")
]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper_case)]
Origins = Annotated[
    str, _each(_ORIGIN, "look like https://host or https://host:port, without a path")
]
HostNames = Annotated[str, _each(_HOST, "be a host name, without scheme and port")]
Owners = Annotated[str, _each(_OWNER, "be an e-mail address or team:name")]
EmsTables = Annotated[str, AfterValidator(_ems_tables)]
HttpAddress = Annotated[str, AfterValidator(_http_address)]
PostgresUrl = Annotated[
    SecretStr,
    _url(
        "postgresql://user:password@host:5432/database",
        lambda url: (
            url.scheme in _POSTGRES_SCHEMES and len(url.path) > 1 and "/" not in url.path[1:]
        ),
    ),
]
RedisUrl = Annotated[
    SecretStr,
    _url(
        "redis://:password@host:6379/0",
        lambda url: (
            url.scheme in {"redis", "rediss", "unix"}
            and bool(url.path if url.scheme == "unix" else url.hostname)
        ),
    ),
]
WebhookUrls = Annotated[SecretStr, _urls("https", "http")]
SmtpUrl = Annotated[SecretStr, _urls("smtp", "smtps")]
MqttUrl = Annotated[SecretStr, _urls("mqtt", "mqtts")]


class SettingsPart(BaseSettings):
    """Settings of one subject, each described by the text below it or, where long, in its field."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)
