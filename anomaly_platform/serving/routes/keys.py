"""``/api/v1/keys``: who may call the API."""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from anomaly_platform.serving.auth.security import Admin
from anomaly_platform.serving.http.idempotency import Once
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.schemas.keys import Key, Keys, MadeKey, NewKey
from anomaly_platform.serving.state import Serving
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.api_keys import ApiKey, ApiKeyError

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


@router.post("", status_code=201, responses=problems(403, 409))
async def create_key(wanted: NewKey, serving: Serving, caller: Admin, once: Once) -> MadeKey:
    """Make a key. The answer is the only place where it is ever shown.

    The same request with the same `Idempotency-Key` makes no second one, but cannot show the
    first again: it is refused (409), and says which key was made.
    """
    shown: list[MadeKey] = []

    def make(connection: Connection) -> dict[str, Any]:
        try:
            made, key = serving.platform.warehouse.api_keys.create(
                wanted.name,
                wanted.scopes,
                created_by=caller.actor,
                expires_at=wanted.expires_at,
                predictions_per_minute=wanted.predictions_per_minute,
                connection=connection,
            )
        except ApiKeyError as error:
            raise ApiProblem(422, str(error)) from None
        shown.append(MadeKey(**_shown(made).model_dump(), key=key))
        # The secret is stored nowhere, and so not here either.
        return {"id": str(made.id), "prefix": made.prefix}

    known = await once.write(make)
    if not shown:
        raise ApiProblem(
            409,
            f"the key {known['prefix']} was made by this request before, and its secret was shown "
            "in the answer then and is stored nowhere; revoke it if the answer is lost, and make "
            "another with a new Idempotency-Key",
            title="The key has been made",
            id=known["id"],
            prefix=known["prefix"],
        )
    return shown[0]


@router.get("", responses=problems(403))
async def list_keys(serving: Serving, _caller: Admin) -> Keys:
    """List every key, without its secret."""
    found = await run_in_threadpool(serving.platform.warehouse.api_keys.all)
    return Keys(keys=[_shown(key) for key in found], total=len(found))


@router.delete("/{key_id}", responses=problems(403, 404))
async def revoke_key(key_id: uuid.UUID, serving: Serving, caller: Admin, once: Once) -> Key:
    """Refuse a key from now on, in every worker within a second."""

    def refuse(connection: Connection) -> dict[str, Any]:
        try:
            revoked = serving.platform.warehouse.api_keys.revoke(
                key_id, revoked_by=caller.actor, connection=connection
            )
        except ApiKeyError:
            raise not_found(f"key {key_id}") from None
        return _shown(revoked).model_dump(mode="json")

    said = Key.model_validate(await once.write(refuse))
    # This worker at once; the others hear of it.
    await serving.keys.forget(said.prefix)
    return said


def _shown(key: ApiKey) -> Key:
    """Return a key as the API shows it, without the digest of its secret."""
    known = asdict(key)
    del known["digest"]
    return Key(**known, state=key.state(dt.datetime.now(dt.UTC)))
