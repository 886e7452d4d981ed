"""One pass over a document before it is parsed: depth, number of values, names that occur twice.

Belongs here: refusing what parsers take without a word and should not. They take the last of two
members of one name, so that a reading could be stored that nobody meant, and make millions of
values before a schema counts them. Whether a document is JSON at all is left to the parser.

The pass holds no lock of the interpreter, so that in a thread it keeps nobody waiting. It takes
time and memory in proportion to the bytes, and ends at the first thing that is wrong.
"""

import json
from itertools import pairwise
from typing import Final

import numpy as np

from anomaly_platform.serving.http.bodies.json_kernels import (
    DEEP,
    FINE,
    LONG,
    MANY,
    cuts_of,
    first_fault,
    hash_of,
)
from anomaly_platform.serving.problems import ApiProblem

DEEPEST_JSON: Final = 32
"""Levels of arrays and objects that a document may have."""

MOST_IN_ONE: Final = 100_000
"""Elements of one array, or members of one object: as many as the largest request has scans.

From the third level on a thousand are the most."""

MOST_VALUES: Final = 1_500_000
"""Values of a document: a hundred thousand scans with all of their members, and some more."""

LONGEST_TEXT: Final = 64 * 2**10
"""Bytes of one text or number: a parser that reads more lets nobody else go on meanwhile."""

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
    limits = (DEEPEST_JSON, MOST_IN_ONE, MOST_VALUES, LONGEST_TEXT)
    fault, start, end = first_fault(np.frombuffer(document, dtype=np.uint8), *limits)
    if fault == FINE:
        return None
    if fault == DEEP:
        return ApiProblem(422, f"the document is nested deeper than {DEEPEST_JSON} levels")
    if fault == MANY:
        return ApiProblem(
            422,
            f"the document has more than {MOST_VALUES:,} values, more than {MOST_IN_ONE:,} in one "
            "array or object, or more than 1,000 within a row; send it in several requests",
        )
    if fault == LONG:
        return ApiProblem(
            422, f"the document has a text, number or gap of more than {LONGEST_TEXT:,} bytes"
        )
    message = f'the member "{_name(document[start:end])}" occurs twice in one object; send it once'
    return ApiProblem(400, f"body: {message}", errors=[{"location": "body", "message": message}])


def pieces_of(document: bytes, member: bytes, every: int) -> list[bytes]:
    """Return a document in which an array is cut short, and its further elements as arrays.

    Put together, they say what the document says; each is parsed in a moment, between which others
    go on. A document without the array, or one that is no JSON, may come back whole.

    Parameters
    ----------
    document : bytes
        An object, in which :func:`problem_of_json` finds nothing.
    member : bytes
        Its member that is the array.
    every : int
        Elements of a piece.

    Examples
    --------
    >>> pieces_of(b'{"data": [1, 2, 3], "id": 7}', b"data", 2)
    [b'{"data": [1, 2], "id": 7}', b'[ 3]']
    """
    name = hash_of(np.frombuffer(member, dtype=np.uint8))
    cuts = cuts_of(np.frombuffer(document, dtype=np.uint8), name, every).tolist()
    if len(cuts) < 3:
        return [document]
    first = document[cuts[0] : cuts[1]]
    further = [document[after + 1 : end] for after, end in pairwise(cuts[1:])]
    if any(not one or one.isspace() for one in (first, *further)):
        # A comma without an element: what is no JSON is not made into some.
        return [document]
    return [document[: cuts[1]] + document[cuts[-1] :], *(b"[%b]" % one for one in further)]


def _name(quoted: bytes) -> str:
    try:
        name = str(json.loads(quoted))
    except ValueError:
        # Bytes that are no text; the parser would have refused them.
        name = quoted[1:-1].decode(errors="replace")
    return name[:_LONGEST_SHOWN]
