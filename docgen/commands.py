"""The reference of commands, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from anomaly_platform.cli.main import app
from docgen.markdown import table

#: What typer says beside a help text: ``[default: 30; x>=1]``.
_BESIDE = re.compile(r"\s*\[((?:default|required|x[<>]|-?[\d.]+<)[^\]]*)\]$")
_TYPES = {"str": "TEXT", "int": "N", "int range": "N", "float": "N", "float range": "N"}


def commands_reference() -> str:
    """Return a chapter for the single commands and one for each group of them."""
    root = get_command(app)
    context = root.context_class(root, info_name="anomaly")
    members: dict[str, Any] = vars(root)["commands"]
    groups = {name: one for name, one in members.items() if _is_group(one)}
    single = [name for name in members if name not in groups]
    text = ["## Single commands", *(_section(members[name], name, context) for name in single)]
    for name, group in groups.items():
        inside = group.context_class(group, info_name=name, parent=context)
        text += [f"## Group `anomaly {name}`", _prose(group.help)]
        text += [_section(one, key, inside) for key, one in group.commands.items()]
    return "\n\n".join(text)


def command_names() -> Iterator[str]:
    """Yield every command as a person types it."""
    members: dict[str, Any] = vars(get_command(app))["commands"]
    for name, one in members.items():
        yield from (
            (f"anomaly {name} {key}" for key in one.commands)
            if _is_group(one)
            else (f"anomaly {name}",)
        )


def _is_group(command: Any) -> bool:
    return hasattr(command, "commands")


def _section(command: Any, name: str, parent: Any) -> str:
    context = command.context_class(command, info_name=name, parent=parent)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join([context.command_path, *map(_argument, arguments)])
    parts = [f"### `{usage}`", _prose(command.help)]
    rows = [_row(one, context) for one in command.params if not one.hidden]
    if rows:
        parts.append(table(("argument or option", "meaning", "default, limits"), rows))
    return "\n\n".join(parts)


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    named, text = parameter.get_help_record(context)
    beside = _BESIDE.search(text)
    meaning = text[: beside.start()] if beside else text
    if parameter.param_type_name == "argument":
        shown = _argument(parameter).strip("[]")
    else:
        shown = re.sub(r"<(.*)>", lambda found: _type(found[1]), named)
    return f"`{shown}`", _prose(meaning), _beside(beside[1]) if beside else ""


def _beside(text: str) -> str:
    """Say default and limits in words: ``default: 30; x>=1``."""
    text = text.replace("default: ", "default ").replace("; ", ", ")
    text = re.sub(r"(\S+?)<=x<=(\S+)", r"\1 to \2", text)
    return re.sub(r"x>=(\S+)", r"at least \1", text)


def _type(name: str) -> str:
    """Return how a value is written in a usage line; ``list[…]`` is an option to be repeated."""
    inner = re.fullmatch(r"list\[(.*)\]", name)
    if inner:
        return f"{_type(inner[1])} …"
    return _TYPES.get(name, name.upper())


def _prose(text: str | None) -> str:
    """Keep a text as it reads on a terminal: what looks like a tag of HTML is none."""
    return (text or "").strip().replace("<", "&lt;")
