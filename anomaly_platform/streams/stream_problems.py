"""What is wrong with a stream's YAML file, in words: line, key, and what to write instead."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from anomaly_platform.streams.metric_document import DetectorName, MetricDocument
from anomaly_platform.streams.scan_document import ScanDocument
from anomaly_platform.streams.yaml_advice import missing_blank
from anomaly_platform.streams.yaml_lines import KeyPath, YamlDocument

_DAY = timedelta(days=1)
_LONGEST_LOOKBACK = timedelta(days=366)
#: Rows that a model needs, at least.
_LEAST_TRAINING_ROWS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong on a line, and what to write instead."""

    line: int
    message: str


Document = MetricDocument | ScanDocument
#: What a file may say, by its ``kind``; a file that names none describes metrics.
_KINDS: Mapping[str, type[Document]] = {"metrics": MetricDocument, "scans": ScanDocument}


def read_document(document: YamlDocument) -> tuple[Document | None, list[Problem]]:
    """Return what a file says, or everything that is wrong with it, by line."""
    model = _model_of(document)
    try:
        said = model.model_validate(document.values)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        problems = [
            Problem(*_worded(document, detail))
            for detail in wrong
            # A list with a wrong item is also a wrong list; the item says it better.
            if not any(
                len(other["loc"]) > len(detail["loc"])
                and other["loc"][: len(detail["loc"])] == detail["loc"]
                for other in wrong
            )
        ]
        return None, sorted(set(problems), key=lambda problem: problem.line)
    problems = [
        Problem(document.line_of(path), message) for path, message in _combined_problems(said)
    ]
    return (None, problems) if problems else (said, [])


def _model_of(document: YamlDocument) -> type[Document]:
    kind = document.values.get("kind", "metrics")
    return _KINDS.get(kind, MetricDocument) if isinstance(kind, str) else MetricDocument


def _combined_problems(said: Document) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong between keys that are right each by itself."""
    if isinstance(said, ScanDocument):
        return
    reach = said.feature_set.lookback
    if reach > _LONGEST_LOOKBACK:
        most = _LONGEST_LOOKBACK // said.frequency
        message = (
            f"windows and lags reach {reach.days} days back; at this frequency at most "
            f"{most} rows keep within {_LONGEST_LOOKBACK.days} days"
        )
        yield ("features", "windows"), message
    rows = said.training_window // said.frequency
    if rows < _LEAST_TRAINING_ROWS:
        least = math.ceil(_LEAST_TRAINING_ROWS * said.frequency / _DAY)
        message = (
            f"window holds {rows} readings at this frequency, and a model needs "
            f"{_LEAST_TRAINING_ROWS}; write at least {least}d"
        )
        yield ("retraining", "window"), message


def _worded(document: YamlDocument, detail: Any) -> tuple[int, str]:
    """Return line and message of one of pydantic's errors."""
    path: KeyPath = tuple(detail["loc"])
    key = ".".join(str(part) for part in path if isinstance(part, str))
    line = document.line_of(path)
    model, field = _field_of(_model_of(document), path)
    if detail["type"] == "extra_forbidden":
        return line, _unknown_key(path, model, key_paths(_model_of(document)))
    if detail["type"] == "missing":
        return line, f"{key!r} is missing; write {path[-1]}: {_example(_wanted(field))}"
    if detail["type"] == "value_error":
        reason = str(detail["ctx"]["error"])
        if reason.startswith("write ") and not isinstance(detail["input"], dict):
            reason = f"{_shown(detail['input'])} cannot be used; {reason}"
        return line, f"{key}: {reason}"
    if detail["type"] == "literal_error":
        what, known = (
            ("kind", _KINDS) if path[-1] == "kind" else ("detector", get_args(DetectorName))
        )
        return line, f"{key}: unknown {what} {_shown(detail['input'])}; there is {', '.join(known)}"
    advice = missing_blank(str(detail["input"])) if detail["type"] == "model_type" else None
    if advice is not None:
        # The keys below this one were read as its text.
        return document.value_lines[path], f"{key}: {advice}"
    return line, f"{key}: {_shown(detail['input'])} cannot be used; write {_wanted(field)}"


def _shown(value: object) -> str:
    if value is None:
        return "an empty value"
    text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _wanted(field: FieldInfo | None) -> str:
    return (field.description if field else None) or "another one"


def _example(description: str) -> str:
    return description.rpartition("such as ")[2]


def _field_of(model: type[BaseModel], path: KeyPath) -> tuple[type[BaseModel], FieldInfo | None]:
    """Return the part that a path lies in and the last field on it."""
    field: FieldInfo | None = None
    for part in path:
        if not isinstance(part, str) or part not in model.model_fields:
            break
        field = model.model_fields[part]
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
    return model, field


def key_paths(model: type[BaseModel] = MetricDocument) -> list[tuple[str, ...]]:
    """Return every key that a file of a kind may have, those below others with them."""
    return list(_key_paths(model, ()))


def _key_paths(model: type[BaseModel], above: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _key_paths(kind, (*above, name))


def _unknown_key(path: KeyPath, model: type[BaseModel], known_paths: list[tuple[str, ...]]) -> str:
    name = str(path[-1])
    here = list(model.model_fields)
    elsewhere = [known for known in known_paths if known[-1] == name]
    close = difflib.get_close_matches(name.lower(), here, n=1, cutoff=0.6)
    if elsewhere:
        *above, _ = elsewhere[0]
        where = f"under '{'.'.join(above)}'" if above else "to the left, beside 'name'"
        return f"unknown key {name!r} here; it belongs {where}"
    if close:
        return f"unknown key {name!r}; did you mean {close[0]!r}?"
    return f"unknown key {name!r}; the keys here are {', '.join(here)}"
