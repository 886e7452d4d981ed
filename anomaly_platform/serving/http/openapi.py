"""The OpenAPI document: FastAPI's own, completed by problem documents, scopes and security."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from anomaly_platform.serving.auth.security import PUBLIC_PATHS, Require
from anomaly_platform.serving.problems import MEDIA_TYPE, Problem

_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_PARSED_BY_ROUTES: Final[dict[str, type[BaseModel]]] = {}
#: What every route can answer, whatever it does; and what only those behind a key.
_EVERYWHERE = (413, 422, 503)
_WITH_BODY = (400, 415, 429)
_BEHIND_KEY = (401, 403)
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer <key>"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that ends in these problems, beside those of all."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": _REFERENCE}},
        }
        for status in statuses
    }


def accepted(schema: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may answer 202 and where to ask again."""
    return {
        202: {
            "model": schema,
            "description": "It goes on; ask again at Location.",
            "headers": {
                "Location": {
                    "description": "Where to ask again.",
                    "schema": {"type": "string"},
                }
            },
        }
    }


def body_of(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a route that parses its body itself."""
    reference = {"$ref": f"#/components/schemas/{schema.__name__}"}
    _PARSED_BY_ROUTES[schema.__name__] = schema
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}
    }


def install_openapi(app: FastAPI) -> None:
    """Make the application's document name every problem document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI's own form of validation errors is never sent.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    shown: dict[str, type[BaseModel]] = {"Problem": Problem, **_PARSED_BY_ROUTES}
    for name, schema in shown.items():
        described = schema.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(described.pop("$defs", {}))
        schemas[name] = described
    found["components"]["securitySchemes"] = _SECURITY_SCHEMES
    scopes = scopes_by_path(app)
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            _complete(operation, scopes.get((method.upper(), path)), path)
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter without null: one that is absent is not sent."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**rest, **kinds[0]}


def _complete(operation: dict[str, Any], scope: str | None, path: str) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    responses = operation["responses"]
    also: tuple[int, ...] = _EVERYWHERE
    if "requestBody" in operation:
        also = (*also, *_WITH_BODY)
    if path not in PUBLIC_PATHS:
        also = (*also, *_BEHIND_KEY)
        # Either of the two headers will do.
        operation["security"] = [{"bearer": []}, {"api_key": []}]
    if scope is not None:
        needs = f"Needs the scope `{scope}`."
        operation["description"] = f"{operation.get('description', '')}\n\n{needs}".strip()
    for status, response in problems(*also).items():
        responses[str(status)] = response
    operation["responses"] = dict(sorted(responses.items()))


def scopes_by_path(app: FastAPI) -> dict[tuple[str, str], str | None]:
    """Return the scope that each route declares, by method and path template.

    A route that declares none has None; a test allows that only of the public ones.
    """
    found: dict[tuple[str, str], str | None] = {}
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        for method in context.methods or ():
            scope = _scope_of(dependant) if isinstance(dependant, Dependant) else None
            found[method, str(context.path_format or context.path)] = scope
    return found


def _scope_of(dependant: Dependant) -> str | None:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Require):
            return dependency.call.scope
        nested = _scope_of(dependency)
        if nested is not None:
            return nested
    return None
