"""The reference of settings and ``.env.example``, from the settings themselves."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from anomaly_platform.settings import ENV_PREFIX, PLAIN_NAMES, Settings
from anomaly_platform.settings.types import SettingsPart
from docgen.markdown import table

_EXAMPLE_HEAD = """\
# Every setting of the platform with its default. Copy to .env and uncomment what you change;
# environment variables of the same name win over the file.
"""
_EXAMPLE_FOOT = """\
# Only for compose.yaml: passwords of its own services; all of them have to be set there.
# POSTGRES_PASSWORD=
# MQTT_PASSWORD=
# MQTT_PUBLISHER_PASSWORD=
# MQTT_LISTENER_PASSWORD=
# GRAFANA_ADMIN_PASSWORD=
"""
#: Limits in a JSON schema, as they are said.
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "enum": "one of {}",
}


def settings_reference() -> str:
    """Return a chapter for each subject, with a row for each setting."""
    schema = Settings.model_json_schema()["properties"]
    parts = [one for one in Settings.__mro__ if SettingsPart in one.__bases__ and one != Settings]
    text = []
    for part in reversed(parts):
        names = [name for name in Settings.model_fields if name in part.__annotations__]
        rows = [_row(name, Settings.model_fields[name], schema[name]) for name in names]
        text += [f"## {(part.__doc__ or '').splitlines()[0].rstrip('.')}"]
        text += [table(("setting", "meaning", "default", "limits"), rows)]
    return "\n\n".join(text)


def env_example() -> str:
    """Return the text of ``.env.example``."""
    settings = [
        f"{_comment(field.description or '')}\n# {ENV_PREFIX}{name.upper()}={_default(field)}\n"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join([_EXAMPLE_HEAD, *settings, _EXAMPLE_FOOT])


def _comment(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), 98, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def _row(name: str, field: FieldInfo, schema: dict[str, Any]) -> tuple[str, str, str, str]:
    default = _default(field)
    meaning = (field.description or "").replace("<", "&lt;")
    if name in PLAIN_NAMES:
        meaning += f" `{PLAIN_NAMES[name]}` counts too, where this one is unset."
    shown = f"`{default}`" if default else "unset"
    return f"`{ENV_PREFIX}{name.upper()}`", meaning, shown, _limits(schema)


def _default(field: FieldInfo) -> str:
    if field.default_factory is None:
        return "" if field.default is None else str(field.default)
    # The home is the one default that depends on the place; the others lie in it.
    home = Path(".anomaly")
    if not field.default_factory_takes_validated_data:
        return str(home)
    return str(field.get_default(call_default_factory=True, validated_data={"home": home}))


def _limits(schema: dict[str, Any]) -> str:
    said = []
    for key, words in _LIMITS.items():
        if key in schema:
            value = schema[key]
            shown = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:.10g}"
            said.append(words.format(shown))
    return ", ".join(said)
