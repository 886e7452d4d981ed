"""One pass over a document before it is parsed: depth, number of values, names that occur twice.

Belongs here: refusing what parsers take without a word and should not. They take the last of two
members of one name, so that a reading could be stored that nobody meant, and make millions of
values before a schema counts them. Whether a document is JSON at all is left to the parser.

The pass holds no lock of the interpreter, so that in a thread it keeps nobody waiting. It takes
time and memory in proportion to the bytes, and ends at the first thing that is wrong.
"""

import json
from typing import Final

import numpy as np

from anomaly_platform.serving.http.bodies.json_kernels import DEEP, FINE, MANY, first_fault
from anomaly_platform.serving.problems import ApiProblem

DEEPEST_JSON: Final = 32
"""Levels of arrays and objects that a document may have."""

MOST_IN_ONE: Final = 100_000
"""Elements of one array, or members of one object: as many as the largest request has scans."""

MOST_VALUES: Final = 1_500_000
"""Values of a document: a hundred thousand scans with all of their members, and some more."""

_LONGEST_SHOWN: Final = 64


def problem_of_json(document: bytes) -> ApiProblem | None:
    """Return what is wrong with a document; None where its schema may judge it.

    Examples
    --------
    >>> problem_of_json(b'{"value": 1, "value": 2}').detail
    'body: the member "value" occurs twice in one object; send it once'
    >>> problem_of_json(b'[{"value": 1}, {"value": 2}]') is None
    True
    """
    if not document:
        return None
    fault, start, end = first_fault(
        np.frombuffer(document, dtype=np.uint8), DEEPEST_JSON, MOST_IN_ONE, MOST_VALUES
    )
    if fault == FINE:
        return None
    if fault == DEEP:
        return ApiProblem(422, f"the document is nested deeper than {DEEPEST_JSON} levels")
    if fault == MANY:
        return ApiProblem(
            422,
            f"the document has more than {MOST_VALUES:,} values, or more than {MOST_IN_ONE:,} in "
            "one array or object; send it in several requests",
        )
    message = f'the member "{_name(document[start:end])}" occurs twice in one object; send it once'
    return ApiProblem(400, f"body: {message}", errors=[{"location": "body", "message": message}])


def _name(quoted: bytes) -> str:
    try:
        name = str(json.loads(quoted))
    except ValueError:
        # Bytes that are no text; the parser would have refused them.
        name = quoted[1:-1].decode(errors="replace")
    return name[:_LONGEST_SHOWN]
