"""The pages there are, in the order of the navigation."""

from typing import Final, NamedTuple

from anomaly_platform.serving.auth.security import ScopeName


class PageEntry(NamedTuple):
    """A page of the navigation.

    Attributes
    ----------
    title, path : str
        What it is called, and where it is.
    key : str
        Opens it when pressed after ``g``.
    scope : str
        What a key needs for it.
    """

    title: str
    path: str
    key: str
    scope: ScopeName = "ml:read"


PAGES: Final = (
    PageEntry("Overview", "/console", "o"),
    PageEntry("Explorer", "/console/explorer", "e"),
    PageEntry("Alerts", "/console/alerts", "a"),
    PageEntry("Journey", "/console/journey", "j"),
    PageEntry("Models", "/console/models", "m"),
    PageEntry("Data", "/console/data", "d"),
    PageEntry("Keys", "/console/keys", "k", "ml:admin"),
)
