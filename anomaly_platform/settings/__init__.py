"""Every setting of the platform, once.

Belongs here: the name, type, default and check of each setting that a person may change, read from
environment variables with the prefix ``ANOMALY_`` and from a file ``.env`` in the current folder or
beside the home; a module per subject. Does not belong here: anything that a stream describes (see
``anomaly_platform.streams``), and any connection or folder opened because of a setting.

``.env.example`` mirrors these modules; a test holds the two equal.
"""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from anomaly_platform.settings.ems import EmsSettings
from anomaly_platform.settings.home import AnchoredDotEnv, project_folder
from anomaly_platform.settings.notifications import NotificationSettings
from anomaly_platform.settings.scoring import ScoringSettings
from anomaly_platform.settings.serving import ServingSettings
from anomaly_platform.settings.storage import StorageSettings
from anomaly_platform.settings.upkeep import UpkeepSettings

ENV_PREFIX = "ANOMALY_"
#: Not settings: what a process of the platform hands on to those it starts.
_HANDED_ON = frozenset({"ANOMALY_DAGSTER_URL"})
#: Relative ones in ``.env`` lie beside it.
_PLACES = frozenset(
    {"home", "lake_url", "landing_url", "mlflow_artifacts", "reference_path", "streams_dir"}
)

PLAIN_NAMES: Final = {
    "api_port": "PORT",
    "ems_core_url": "EMS_CORE_URL",
    "min_training_samples": "MIN_TRAINING_SAMPLES",
    "auto_create_alerts": "AUTO_CREATE_ALERTS",
}
"""Names without the prefix that count where the one with it is unset; there are no others."""


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names the variable and the fix."""


# The last base comes first in the order of fields.
class Settings(
    UpkeepSettings,
    EmsSettings,
    NotificationSettings,
    ServingSettings,
    ScoringSettings,
    StorageSettings,
):
    """The settings of one process, immutable once read.

    A new object reads the environment and ``.env`` again; nothing is cached. Values never appear
    in error messages, and secrets are :class:`pydantic.SecretStr`.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read ``.env`` of the current folder first, then the one beside the home."""
        above = (AnchoredDotEnv(settings_cls, folder, _PLACES) for folder in _env_folders()[1:])
        named = (init_settings, env_settings, dotenv_settings, *above, file_secret_settings)
        return (*named, _PlainNames(settings_cls), _PlainNamesOfFile(settings_cls))


class _PlainNames(EnvSettingsSource):
    """The few variables of the environment that count without the prefix."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the value of a variable, None where it is unset or has no such name."""
        name = PLAIN_NAMES.get(field_name, "")
        return self.env_vars.get(name.lower()), field_name, False


class _PlainNamesOfFile(_PlainNames, DotEnvSettingsSource):
    """The same in ``.env``."""


def get_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and ``.env``.

    Parameters
    ----------
    **overrides
        Values that win over the environment, by field name.

    Returns
    -------
    Settings
        A new object at every call: a test that changes the environment sees the change.

    Raises
    ------
    SettingsError
        When a value cannot be used. The message names each variable and what is expected, and
        never repeats the value, which may be a secret.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def unknown_settings() -> dict[str, str]:
    """Return the variables that look like settings and are none, each with the nearest that is.

    Of the environment and of ``.env``; nothing is near for an empty text.
    """
    names: list[str] = list(os.environ)
    for folder in _env_folders():
        names += dotenv_values(folder / ".env")
    known = [f"{ENV_PREFIX}{field.upper()}" for field in Settings.model_fields]
    strange = {
        name
        for name in names
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in {*known, *_HANDED_ON}
    }
    return {
        name: next(iter(get_close_matches(name.upper(), known, n=1)), "")
        for name in sorted(strange)
    }


def _env_folders() -> tuple[Path, ...]:
    """Return the folders whose ``.env`` is read, the current one first, which wins."""
    if Settings.model_config.get("env_file") is None:
        return ()
    return tuple(dict.fromkeys((Path.cwd(), project_folder())))


def _explain(error: ValidationError) -> str:
    """Say in one line per setting which variable is wrong and what would be right."""
    lines = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        if detail["type"] == "default_factory_not_called":
            # Only follows from another setting's error, which is in the list.
            continue
        field = str(detail["loc"][0]) if detail["loc"] else ""
        info = Settings.model_fields.get(field)
        reason = detail["msg"].removeprefix("Value error, ")
        line = f"{ENV_PREFIX}{field.upper()}"
        if field in PLAIN_NAMES:
            line += f" (or {PLAIN_NAMES[field]})"
        line += f": {reason[:1].lower()}{reason[1:]}"
        if info is not None and info.description:
            line += f" ({info.description})"
        lines.append(line)
    return "Settings that cannot be used; correct them in the environment or in .env:\n  " + (
        "\n  ".join(lines)
    )
