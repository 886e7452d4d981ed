"""The tiers of a supply chain, by the words that senders write for them.

What belongs here: what a business step says where no reference describes the place.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from anomaly_platform.ml.features.scans.words import read_event_type


class Tier(NamedTuple):
    """A tier of the chain.

    Attributes
    ----------
    name
        As locations name their type.
    level
        The hierarchy: goods go up by one at most.
    order
        Place in the chain; tells two tiers of one level apart.
    """

    name: str
    level: int
    order: int


TIERS: Final = (
    Tier("Factory", 0, 0),
    Tier("WMS", 1, 1),
    Tier("HUB", 1, 2),
    Tier("Wholesaler", 2, 3),
    Tier("Retailer", 3, 4),
)
_WORDS: Final = (
    ("factory", "plant", "manufacturer", "manufacturing", "production", "aggregation"),
    ("wms", "warehouse", "factorywarehouse", "factorywms"),
    ("hub", "logisticshub", "logistichub", "logistics", "distributioncenter", "distributioncentre"),
    ("wholesaler", "wholesale", "wstock", "distributor"),
    ("retailer", "retail", "rstock", "store", "shop", "pos"),
)
_TIER_OF: Final = {word: tier for tier, words in zip(TIERS, _WORDS, strict=True) for word in words}
_JOINTS: Final = re.compile(r"[\s_\-./]+")


@lru_cache(maxsize=4_096)
def tier_of(word: str | None) -> Tier | None:
    """Return the tier that a business step, a type of place or an event type names; None for none.

    Examples
    --------
    >>> tier_of("Logistics_HUB").name, tier_of("W_Stock_Inbound").level, tier_of("Returns")
    ('HUB', 2, None)
    """
    plain = (word or "").strip().lower()
    found = _TIER_OF.get(_JOINTS.sub("", plain))
    if found is None:
        found = _TIER_OF.get(_JOINTS.sub("", read_event_type(plain)[0]))
    return found
