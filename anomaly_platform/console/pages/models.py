# ruff: noqa: S608 - statements that are shown, not run
"""Models: versions with their gates, figures side by side, and trainings to ask for and follow."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.learning import curves_of, data_of, follow, manifest_of
from anomaly_platform.console.rendering import link, page
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.kinds.training import FIRST_TRAINING, OF_ITS_OWN_ROWS, origin_of
from anomaly_platform.queries.operation.in_service import serving_models
from anomaly_platform.queries.operation.trainings import newest_trainings
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.state import ServingState
from anomaly_platform.streams import Stream

router = APIRouter(prefix="/models")

_VERSIONS: Final = 40
_TRAININGS: Final = 12
_SERVABLE: Final = ("challenger", "retired", "rejected")


@router.get("")
async def show(
    request: Request, viewer: Reading, stream: str | None = None, detector: str | None = None
) -> Response:
    """Show a stream's versions, what serves, and the trainings."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream or serving.platform.streams[0].name)
    detectors = list(dict.fromkeys((chosen.scored_by, *chosen.detectors)))
    named = detector if detector in detectors else chosen.scored_by
    versions = await asyncio.to_thread(serving.platform.warehouse.bundles.all, chosen.name, named)
    history = await asyncio.to_thread(
        serving.platform.warehouse.bundles.history, chosen.name, named
    )
    async with serving.pool.connection() as connection:
        served = [one for one in await serving_models(connection) if one.stream == chosen.name]
        trainings = await newest_trainings(connection, chosen.name, limit=_TRAININGS)
    compared = [
        record
        for record in versions
        if str(record.version) in (request.query_params.get("a"), request.query_params.get("b"))
    ]
    return page(
        request,
        "models.html",
        viewer,
        streams=serving.platform.streams,
        chosen=chosen,
        detectors=detectors,
        detector=named,
        versions=versions[:_VERSIONS],
        decides=named == chosen.scored_by,
        servable=_SERVABLE,
        served=served,
        of_its_own_rows=OF_ITS_OWN_ROWS if any(map(_is_first, versions)) else "",
        before=await asyncio.to_thread(before_of, serving, chosen),
        history=history[:_VERSIONS],
        trainings=[await follow(serving, one) for one in trainings],
        compared=compared,
        figures=_side_by_side(compared),
        back=link("/console/models", stream=chosen.name, detector=named),
        behind=_behind(serving, chosen, named),
    )


def _is_first(record: BundleRecord) -> bool:
    """Return whether a version serves that has learned when none served yet."""
    return record.status == "champion" and origin_of(record).cause == FIRST_TRAINING


@router.get("/version")
async def version(
    request: Request, viewer: Reading, stream: str, detector: str, number: int
) -> Response:
    """Show what one version was trained on, its gates and its figures."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream)
    record = None
    if 0 < number < 2**31:
        record = await asyncio.to_thread(
            serving.platform.warehouse.bundles.get, stream, detector, number
        )
    if record is None:
        raise not_found(f"version {number} of {stream} {detector}")
    manifest = await asyncio.to_thread(manifest_of, serving, record)
    return page(
        request,
        "version.html",
        viewer,
        chosen=chosen,
        one=record,
        figures=_flat(record.metrics),
        parameters=_flat({k: v for k, v in record.parameters.items() if k != "history"}),
        learned=_flat({k: v for k, v in data_of(manifest).items() if k != "history"}),
        curves=curves_of(manifest),
        decides=detector == chosen.scored_by,
        before=await asyncio.to_thread(before_of, serving, chosen),
        servable=_SERVABLE,
        back=link("/console/models/version", stream=stream, detector=detector, number=number),
        behind=[
            *_behind(serving, chosen, detector),
            *(
                sources.run(serving.settings, str(one))
                for one in [record.parameters.get("run_id")]
                if one
            ),
        ],
    )


@router.get("/training")
async def training(request: Request, viewer: Reading, asked: uuid.UUID) -> Response:
    """Follow a training: waiting, running, its outcome, and what came of it."""
    serving = serving_of(request)
    store = serving.platform.warehouse.training_requests
    found = await asyncio.to_thread(store.get, asked)
    if found is None:
        raise not_found(f"training {asked}")
    stream = known_stream(serving, found.stream)
    record = None
    if found.version:
        get = serving.platform.warehouse.bundles.get
        detector = found.detector or stream.scored_by
        record = await asyncio.to_thread(get, stream.name, detector, found.version)
    followed = await follow(serving, found)
    manifest = {} if record is None else await asyncio.to_thread(manifest_of, serving, record)
    return page(
        request,
        "training.html",
        viewer,
        one=found,
        followed=followed,
        run_page=partial(sources.run, serving.settings),
        pipeline=(await serving.health.health()).parts["pipeline"],
        chosen=stream,
        record=record,
        curves=followed.curves or curves_of(manifest),
        behind=[
            *(sources.asset(serving.settings, stream.name, one) for one in stream.model_stages),
            *(sources.run(serving.settings, run) for run in [found.run_id] if run),
            sources.statement(f"SELECT * FROM training_requests WHERE id = '{found.id}'"),
        ],
    )


def _behind(serving: ServingState, stream: Stream, detector: str) -> list[sources.Source]:
    return [
        *(sources.asset(serving.settings, stream.name, one) for one in stream.model_stages),
        *sources.models(serving.settings, (stream.name, detector)),
        sources.statement(f"SELECT * FROM bundles WHERE stream = '{stream.name}'"),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested figures with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _side_by_side(records: Sequence[BundleRecord]) -> list[tuple[str, list[Any]]]:
    """Return each figure that any of some versions has, with its value in each."""
    flat = [_flat(one.metrics) for one in records]
    names = dict.fromkeys(name for one in flat for name in one)
    return [(name, [one.get(name) for one in flat]) for name in names]


def before_of(serving: ServingState, stream: Stream) -> int | None:
    """Return the version to which a stream can be rolled back."""
    return serving.platform.warehouse.bundles.previous(stream.name, stream.scored_by)


def number_of(text: str) -> int:
    """Return the number of a version that a form names.

    Raises
    ------
    ApiProblem
        422, when it is none.
    """
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise ApiProblem(422, "version: its number")
    return int(text)
