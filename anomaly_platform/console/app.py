"""Assembles the console, and the application that ``anomaly api`` serves: API plus console."""

import gc
import sys
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from anomaly_platform.console import failures
from anomaly_platform.console.files import file_routes
from anomaly_platform.console.kept import Kept
from anomaly_platform.console.pages import (
    alerts,
    data,
    data_file,
    entity,
    explorer,
    journey,
    keys,
    log_in,
    marks,
    model_actions,
    models,
    overview,
    series,
)
from anomaly_platform.console.sessions import Sessions, secret_of
from anomaly_platform.console.uploads import Uploads
from anomaly_platform.console.viewers import NotLoggedIn
from anomaly_platform.logs import configure_logging
from anomaly_platform.platform import Platform
from anomaly_platform.serving import app as api
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.database import DatabaseError

PATH: Final = "/console"
_PAGES: Final = (
    *(log_in, overview, explorer, entity, series, marks, alerts, journey),
    *(models, model_actions, data, data_file, keys),
)
#: Seconds after which one thread lets another go on. The writer of readings, just back from the
#: database, would wait Python's usual 5 ms for the event loop: longer than its transaction took.
_SWITCH_S: Final = 0.0005


def create_app(platform: Platform) -> FastAPI:
    """Return the API with the console beside it; nothing is opened before it starts.

    Parameters
    ----------
    platform : Platform
        Settings, streams, tables and lake.
    """
    console = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    served = api.create_app(platform, {PATH: console})
    # Started with the API: its state is the console's.
    console.state.api = served
    console.state.kept = Kept()
    console.state.uploads = Uploads(platform.settings.home / "uploads")
    console.state.sessions = Sessions(secret_of(platform.settings))
    for module in _PAGES:
        console.include_router(module.router, prefix=PATH)
    console.router.routes.extend(file_routes(f"{PATH}/files"))
    console.exception_handler(NotLoggedIn)(failures.to_log_in)
    console.exception_handler(ApiProblem)(failures.refused)
    console.exception_handler(HTTPException)(failures.of_framework)
    console.exception_handler(RequestValidationError)(failures.of_address)
    console.exception_handler(Exception)(failures.unexpected)
    console.exception_handler(ClientDisconnect)(failures.broken_off)
    for unavailable in (DatabaseError, OperationalError, PoolTimeout):
        console.exception_handler(unavailable)(failures.no_database)
    return served


def worker_app() -> FastAPI:
    """Return the application of one worker process, with the settings of its environment."""
    sys.setswitchinterval(_SWITCH_S)
    settings = get_settings()
    configure_logging(settings.log_level, settings.log_format, whole_process=True)
    served = create_app(Platform(settings))
    # What has been imported stays. To look through it takes a tenth of a second, again and again
    # while bodies of thousands of readings are read.
    gc.collect()
    gc.freeze()
    return served
