"""Has Dagster's pages load the graph anew when first or older data have moved its first day."""

import json
import threading
import urllib.request
from contextlib import suppress
from typing import Final

from anomaly_platform.storage.first_days import FirstDays

_PATIENCE_SECONDS: Final = 120
_RELOAD: Final = json.dumps(
    {
        "query": 'mutation {reloadRepositoryLocation(repositoryLocationName: "anomaly_platform")'
        " {__typename}}"
    }
).encode()


class Calendar:
    """Looks at the note of first days, and tells the webserver of a change.

    Parameters
    ----------
    first_days : FirstDays
    webserver : str
        Its address, such as ``http://127.0.0.1:3000``.
    """

    def __init__(self, first_days: FirstDays, webserver: str) -> None:
        self._first_days = first_days
        self._url = f"{webserver}/graphql"
        self._told = first_days.read()
        self._telling: threading.Thread | None = None

    def look(self) -> None:
        """Tell the webserver if there is news; where it does not answer, at the next look again."""
        if self._first_days.read() == self._told:
            return
        if self._telling is None or not self._telling.is_alive():
            # Loading takes seconds, and the supervisor has others to look after.
            self._telling = threading.Thread(target=self._tell, name="calendar", daemon=True)
            self._telling.start()

    def _tell(self) -> None:
        days = self._first_days.read()
        request = urllib.request.Request(  # noqa: S310 - our own address
            self._url, _RELOAD, {"Content-Type": "application/json"}
        )
        with (
            suppress(OSError),
            urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer,  # noqa: S310
        ):
            if "WorkspaceLocationEntry" in answer.read().decode():
                self._told = days
