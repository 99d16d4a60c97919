"""Content types and query options of requests.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/negotiation` and `metav1.{Create,Update,Patch,Delete}Options`
of Kubernetes 1.36. Bodies are JSON (YAML for server-side apply), answers JSON; protobuf and CBOR are refused.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import yaml
from aiohttp import web

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.managed import DeleteOptions, Options

_JSON = "application/json"
_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/cbor"
BODY_LIMIT = 3 * 1024 * 1024


def wants_table(header: str) -> bool:
    """Tell from an Accept header whether the client wants a Table rather than the objects.

    Raises StatusError: 406, the client takes no JSON.
    """
    for part in header.split(",") if header.strip() else ("*/*",):
        media, *parameters = (word.strip() for word in part.split(";"))
        forms = [word for word in parameters if word.startswith("as=")]
        if media in (_JSON, "*/*", "application/*") and forms in ([], ["as=Table"]):
            return bool(forms)
    raise status.StatusError(406, "NotAcceptable", f"only the following media types are accepted: {_ACCEPTED}")


async def read_body(request: web.Request) -> Any:
    """Return the body of a request as a JSON value; None when it is empty. Raises StatusError: 400, 413 or 415."""
    raw = await read_bytes(request)
    if not raw.strip():
        return None
    media = media_type(request) or _JSON
    if media == _JSON or media.endswith("+json"):
        return parse_json(raw)
    message = f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED}"
    raise status.StatusError(415, "UnsupportedMediaType", message)


def media_type(request: web.Request) -> str:
    """Return a request's content type without its parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def read_bytes(request: web.Request) -> bytes:
    """Return the raw body. Raises StatusError: 413."""
    raw = await request.read()
    if len(raw) > BODY_LIMIT:
        message = f"Request entity too large: limit is {BODY_LIMIT}"
        raise status.StatusError(413, "RequestEntityTooLarge", message)
    return raw


def find_duplicates(raw: bytes) -> list[str]:
    """Return the paths of fields that a JSON document gives more than once, such as `spec.ports[0].name`."""
    found: list[str] = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, _Pairs):
            seen: set[str] = set()
            for key, value in node:
                where = f"{path}.{key}" if path else key
                if key in seen and where not in found:
                    found.append(where)
                seen.add(key)
                walk(value, where)
        elif isinstance(node, list):
            for at, value in enumerate(node):
                walk(value, f"{path}[{at}]")

    walk(json.loads(raw, object_pairs_hook=_Pairs), "")
    return found


class _Pairs(list[tuple[str, Any]]):
    """The fields of an object, in order, with duplicates."""


def parse_json(raw: bytes) -> Any:
    """Read a JSON document. Raises StatusError: 400."""
    try:
        return json.loads(raw)
    except ValueError as error:
        what = "the object provided is unrecognized (must be of type Object): couldn't get version/kind"
        raise status.bad_request(f"{what}; json parse error: {error}") from None


def parse_yaml(raw: bytes) -> Any:
    """Read a YAML document; JSON is one too. Raises StatusError: 400."""
    with contextlib.suppress(ValueError):
        return json.loads(raw)
    try:
        return json.loads(json.dumps(yaml.load(raw, Loader=_Loader)))  # noqa: S506 - a safe loader, see below
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise status.bad_request(f"error converting YAML to JSON: yaml: {error}") from None


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_options(request: web.Request) -> Options:
    """Read the options in a write's query. Raises StatusError: 422, one is not valid."""
    query = request.query
    dry_run = query.getall("dryRun", [])
    validation = query.get("fieldValidation") or "Warn"
    agent = request.headers.get("User-Agent", "").partition("/")[0][:128] or "unknown"
    manager = query.get("fieldManager") or agent
    return Options(manager, validation, dry_run == ["All"], is_true(query.get("force")))


def is_true(text: str | None) -> bool:
    """Read a boolean of a query: true is whatever is given and not `false` or `0`."""
    return text is not None and text.lower() not in ("false", "0")


def read_delete_options(request: web.Request, body: Any) -> DeleteOptions:
    """Read the options of a DELETE from its body, or from its query. Raises StatusError: 400 or 422."""
    given: Obj = body if isinstance(body, dict) else {}
    query = request.query
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy")
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    try:
        grace_s = None if grace is None else int(grace)
    except ValueError:
        raise status.bad_request(f"strconv.ParseInt: parsing {json.dumps(grace)}: invalid syntax") from None
    preconditions = given.get("preconditions") or {}
    dry_run = (given.get("dryRun") or query.getall("dryRun", [])) == ["All"]
    return DeleteOptions(propagation, grace_s, preconditions.get("uid"), preconditions.get("resourceVersion"), dry_run)


def json_response(value: Any, *, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """Answer with a JSON value, and with warnings in the headers."""
    body = json.dumps(value, separators=(",", ":")) + "\n"
    headers = {"Content-Type": _JSON, "Cache-Control": "no-cache, private"}
    response = web.Response(status=code, body=body.encode(), headers=headers)
    for text in dict.fromkeys(warnings or []):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def status_response(error: status.StatusError) -> web.Response:
    """Answer a request that is refused."""
    if error.plain:
        headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
        return web.Response(status=error.code, text=f"{error.message}\n", headers=headers)
    response = json_response(error.status(), code=error.code)
    if error.code in (429, 503):
        response.headers["Retry-After"] = "1"
    return response
