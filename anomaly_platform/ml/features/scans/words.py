"""Parses event types and EPC codes.

What belongs here: reading a single text. Vocabularies differ between networks, so an event type
is read by its grammar (`<stage>_Inbound`, `<stage>_Outbound`), and a word that fits nothing is
unknown, never an error.
"""

import re
from typing import Final

UNKNOWN, INBOUND, OUTBOUND, ORIGIN, SALE = range(5)

_DIRECTED: Final = re.compile(r"^(.*?)[\s_-]*(inbound|outbound)$")
_SOLD: Final = re.compile(r"^(?:(.*?)[\s_-]*)?(?:sell|sale|sold)$")


def read_event_type(text: str | None) -> tuple[str, int]:
    """Take an event type apart.

    Returns
    -------
    tuple of str and int
        The stage of the chain in lower case, empty where the word names none, and one of
        `INBOUND`, `OUTBOUND`, `ORIGIN` (goods enter the chain), `SALE` and `UNKNOWN`.

    Examples
    --------
    >>> read_event_type("W_Stock_Inbound") == ("w_stock", INBOUND)
    True
    >>> read_event_type("Outbound") == ("", OUTBOUND)
    True
    >>> read_event_type("POS_Sell") == ("pos", SALE)
    True
    >>> read_event_type("Aggregation") == ("aggregation", ORIGIN)
    True
    >>> read_event_type("Inspection") == ("", UNKNOWN)
    True
    """
    word = (text or "").strip().lower()
    if directed := _DIRECTED.match(word):
        return directed[1], INBOUND if directed[2] == "inbound" else OUTBOUND
    if word == "aggregation":
        return word, ORIGIN
    if sold := _SOLD.match(word):
        return sold[1] or "", SALE
    return "", UNKNOWN
