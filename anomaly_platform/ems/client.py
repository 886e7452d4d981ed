"""Opens the EMS that the settings name: its HTTP interface, or its database."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import ems_names

if TYPE_CHECKING:
    from anomaly_platform.ems.core import EmsCore
    from anomaly_platform.ems.database import EmsDatabase

    Ems = EmsCore | EmsDatabase


@contextlib.asynccontextmanager
async def open_ems(settings: Settings) -> AsyncIterator[Ems]:
    """Open the EMS.

    Raises
    ------
    EmsError
        When it cannot be reached.
    """
    if settings.ems_database_url is not None:
        from anomaly_platform.ems.database import EmsDatabase

        url, names = settings.ems_database_url.get_secret_value(), ems_names(settings.ems_tables)
        async with EmsDatabase.open(url, names) as database:
            yield database
    else:
        from anomaly_platform.ems.core import EmsCore

        token = settings.ems_core_token
        async with EmsCore.open(
            settings.ems_core_url, None if token is None else token.get_secret_value()
        ) as core:
            yield core
