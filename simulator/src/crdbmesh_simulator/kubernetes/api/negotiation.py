"""What a client sends, and how it wants to be answered: content types, query options, who it says it is.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/negotiation` and `metav1.{Create,Update,Patch,Delete}Options`
of Kubernetes 1.36. Protobuf and CBOR are not spoken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web

from crdbmesh_simulator.kubernetes.api import protobuf, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

_JSON, _YAML = "application/json", "application/yaml"
_SERVED = (_JSON, _YAML)
_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/cbor"
BODY_LIMIT = 3 * 1024 * 1024
_VALIDATIONS = ("Ignore", "Strict", "Warn")


@dataclass(frozen=True, slots=True)
class Wish:
    """The form of the answer that a client asked for.

    Attributes:
        kind: empty for the object itself, or `Table`, `PartialObjectMetadata`, `PartialObjectMetadataList`.
    """

    media_type: str = _JSON
    kind: str = ""
    version: str = ""


class UnreadableBody(status.StatusError):
    """A protobuf body with something in it that is not known here."""

    def __init__(self, why: str) -> None:
        super().__init__(415, "UnsupportedMediaType", f"the body of the request cannot be read: {why}")


def read_accept(header: str) -> Wish:
    """The first form in an Accept header that is spoken here.

    Raises:
        StatusError: 406, none is.
    """
    if not header.strip():
        return Wish()
    for part in header.split(","):
        media, *parameters = (word.strip() for word in part.split(";"))
        options = dict(word.split("=", 1) for word in parameters if "=" in word)
        wanted = options.get("as", "")
        if options.get("g") not in (None, "meta.k8s.io", "apidiscovery.k8s.io"):
            continue
        if media in _SERVED:
            return Wish(media, wanted, options.get("v", ""))
        if media in ("*/*", "application/*", "text/*", "text/plain"):
            return Wish(_JSON, wanted, options.get("v", ""))
    raise status.StatusError(406, "NotAcceptable", f"only the following media types are accepted: {_ACCEPTED}")


async def read_body(request: web.Request) -> Any:
    """The body of a request as a JSON value; None when it is empty.

    Raises:
        StatusError: 400, 413 or 415.
    """
    raw = await read_bytes(request)
    if not raw.strip():
        return None
    media = request.headers.get("Content-Type", _JSON).partition(";")[0].strip().lower()
    if media in (_JSON, "", "application/octet-stream", "text/plain") or media.endswith("+json"):
        return parse_json(raw)
    if media in (_YAML, "text/yaml", "application/x-yaml") or media.endswith("+yaml"):
        return parse_yaml(raw)
    if media == protobuf.MEDIA_TYPE:
        try:
            return protobuf.decode(raw)
        except protobuf.UnknownMessageError as error:
            raise UnreadableBody(str(error)) from None
    raise status.StatusError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED}",
    )


async def read_bytes(request: web.Request) -> bytes:
    """The raw body.

    Raises:
        StatusError: 413.
    """
    try:
        raw = await request.read()
    except ConnectionError as error:
        raise web.HTTPBadRequest(text="The client went away.") from error
    if len(raw) > BODY_LIMIT:
        message = f"Request entity too large: limit is {BODY_LIMIT}"
        raise status.StatusError(413, "RequestEntityTooLarge", message)
    return raw


def find_duplicates(raw: bytes) -> list[str]:
    """The paths of fields that a JSON document gives more than once, such as `spec.ports[0].name`."""
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

    try:
        walk(json.loads(raw, object_pairs_hook=_Pairs), "")
    except ValueError:
        return []
    return found


class _Pairs(list[tuple[str, Any]]):
    """The fields of an object, in order, with duplicates."""


def parse_json(raw: bytes) -> Any:
    """A JSON document.

    Raises:
        StatusError: 400.
    """
    try:
        return json.loads(raw)
    except ValueError as error:
        what = "the object provided is unrecognized (must be of type Object): couldn't get version/kind"
        raise status.bad_request(f"{what}; json parse error: {error}") from None


def parse_yaml(raw: bytes) -> Any:
    """A YAML document; JSON is one too.

    Raises:
        StatusError: 400.
    """
    try:
        return json.loads(json.dumps(yaml.load(raw, Loader=_Loader)))  # noqa: S506 - a safe loader, see below
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise status.bad_request(f"error converting YAML to JSON: yaml: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a write."""

    manager: str
    validation: str = "Warn"
    dry_run: bool = False
    force: bool = False
    warnings: list[str] = field(default_factory=list)


def read_options(request: web.Request) -> Options:
    """The options in a write's query.

    Raises:
        StatusError: 422, one is not valid.
    """
    query = request.query
    dry_run = query.getall("dryRun", [])
    if dry_run not in ([], ["All"], [""]):
        raise _invalid("dryRun", dry_run, 'supported values: "All"')
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        raise _invalid("fieldValidation", validation, 'supported values: "Ignore", "Strict", "Warn"')
    manager = query.get("fieldManager") or _agent(request)
    if len(manager) > 128:
        raise _invalid("fieldManager", manager, "may not be more than 128 bytes")
    return Options(manager, validation, dry_run == ["All"], is_true(query.get("force")))


def is_true(text: str | None) -> bool:
    """A boolean of a query: whatever is given and not `false` or `0`."""
    return text is not None and text.lower() not in ("false", "0")


def _agent(request: web.Request) -> str:
    return request.headers.get("User-Agent", "unknown").partition("/")[0][:128] or "unknown"


def _invalid(name: str, value: Any, why: str) -> status.StatusError:
    shown = json.dumps(value)
    message = f' "" is invalid: {name}: Invalid value: {shown}: {why}'
    return status.StatusError(
        422, "Invalid", message, {"causes": [{"reason": "FieldValueInvalid", "message": why, "field": name}]}
    )


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How something is to be deleted."""

    propagation: str | None = None
    grace_s: int | None = None
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False


def read_delete_options(request: web.Request, body: Any) -> DeleteOptions:
    """The options of a DELETE, from its body or its query.

    Raises:
        StatusError: 400 or 422.
    """
    given: Obj = body if isinstance(body, dict) else {}
    query = request.query
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    if propagation is None and (orphan is not None or "orphanDependents" in query):
        orphans = bool(orphan) if orphan is not None else is_true(query.get("orphanDependents"))
        propagation = "Orphan" if orphans else "Background"
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        raise _invalid("propagationPolicy", propagation, 'supported values: "Background", "Foreground", "Orphan"')
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    try:
        grace_s = None if grace is None else int(grace)
    except ValueError:
        raise status.bad_request(f"strconv.ParseInt: parsing {json.dumps(grace)}: invalid syntax") from None
    preconditions = given.get("preconditions") or {}
    dry_run = (given.get("dryRun") or query.getall("dryRun", [])) == ["All"]
    return DeleteOptions(propagation, grace_s, preconditions.get("uid"), preconditions.get("resourceVersion"), dry_run)


def json_response(
    value: Any, *, code: int = 200, warnings: list[str] | None = None, wish: Wish | None = None
) -> web.Response:
    """An answer, in JSON or YAML, with warnings in its headers."""
    headers: list[tuple[str, str]] = [("Cache-Control", "no-cache, private")]
    headers += [("Warning", f"299 - {_quoted(text)}") for text in dict.fromkeys(warnings or [])]
    media = _JSON if wish is None else wish.media_type
    text = yaml.safe_dump(value) if media == _YAML else json.dumps(value, separators=(",", ":")) + "\n"
    response = web.Response(status=code, body=text.encode(), headers={"Content-Type": media})
    for name, header in headers:
        response.headers.add(name, header)
    return response


def status_response(error: status.StatusError) -> web.Response:
    """The answer to a request that is refused."""
    if error.plain:
        headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
        return web.Response(status=error.code, text=f"{error.message}\n", headers=headers)
    response = json_response(error.status(), code=error.code)
    if error.code in (429, 503):
        response.headers["Retry-After"] = "1"
    return response


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
