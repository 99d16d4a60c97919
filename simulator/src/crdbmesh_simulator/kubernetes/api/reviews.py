"""Tokens of service accounts, and the reviews, which are answered and never stored.

After `pkg/registry/{authentication,authorization}` and their validation of Kubernetes 1.36.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import authorizer, reads, status
from crdbmesh_simulator.kubernetes.api.authorizer import Action, User
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.negotiation import json_response, read_body
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", namespaced=True)
_LEAST_S, _MOST_S = 600, 1 << 32


async def token(handler: Handler, call: Call) -> web.Response:
    """Sign a token for a service account."""
    if call.verb != "create":
        raise status.method_not_allowed()
    account = reads.found(handler, call)
    body: Obj = await read_body(call.request) or {}
    spec = body.get("spec") or {}
    lifetime = int(spec.get("expirationSeconds") or 3600)
    if not _LEAST_S <= lifetime <= _MOST_S:
        why = "less than 10 minutes" if lifetime < _LEAST_S else "larger than 2^32 seconds"
        problem = status.invalid("spec.expirationSeconds", lifetime, f"may not specify a duration {why}")
        raise status.unprocessable(_TOKEN_REQUEST, "", [problem])
    now = handler.now
    signed = handler.cluster.authority.service_account_token(
        str(call.namespace), call.name, account["metadata"]["uid"], now=now, lifetime_s=lifetime,
        audiences=spec.get("audiences") or (),
    )  # fmt: skip
    expires = dt.datetime.fromtimestamp(int(now + lifetime), tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.name, "namespace": call.namespace},
        "spec": {**spec, "expirationSeconds": lifetime},
        "status": {"token": signed, "expirationTimestamp": expires},
    }
    return json_response(answer, code=201)


async def answer(handler: Handler, call: Call) -> web.Response:
    """Answer a review: who the client is, or what it or another may do."""
    if call.verb != "create" or call.name:
        raise status.method_not_allowed()
    body = await read_body(call.request)
    if body is not None and not isinstance(body, dict):
        raise status.bad_request("the object provided is unrecognized (must be of type Object)")
    spec = (body or {}).get("spec") or {}
    _check(call, spec)
    made = {
        "kind": call.resource.kind,
        "apiVersion": call.resource.api_version,
        "metadata": {"creationTimestamp": None},
    }
    return json_response({**made, "spec": spec, "status": _reviewed(handler, call, spec)}, code=201)


def _check(call: Call, spec: Obj) -> None:
    kind = call.resource.kind
    if kind == "TokenReview" and not spec.get("token"):
        raise status.bad_request("token is required for TokenReview in authentication")
    if kind == "SelfSubjectRulesReview" and not spec.get("namespace"):
        raise status.bad_request("no namespace on request")
    if not kind.endswith("AccessReview"):
        return
    errors = []
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        errors.append(status.invalid("spec.nonResourceAttributes", path, why))
    if about is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(status.invalid("spec.resourceAttributes", None, why))
    if kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        errors.append(status.invalid("spec.user", "", "at least one of user or group must be specified"))
    if kind == "LocalSubjectAccessReview" and about is not None and about.get("namespace") != call.namespace:
        raise status.bad_request(
            "spec.resourceAttributes.namespace must match namespace: "
            f"{call.namespace} is not {about.get('namespace') or ''}"
        )
    if errors:
        raise status.unprocessable(call.resource, "", errors)


def _reviewed(handler: Handler, call: Call, spec: Obj) -> Obj:
    kind, store = call.resource.kind, handler.cluster.store
    if kind == "SelfSubjectReview":
        return {"userInfo": _info(call.user)}
    if kind == "TokenReview":
        try:
            user = authorizer.identify(handler.cluster, None, f"Bearer {spec.get('token', '')}", handler.now)
        except StatusError:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _info(user)}
    if kind == "SelfSubjectRulesReview":
        return authorizer.rules_of(store, call.user, str(spec["namespace"]))
    user = call.user
    if kind != "SelfSubjectAccessReview":
        user = User(str(spec.get("user") or ""), frozenset(spec.get("groups") or []))
    asked = spec.get("resourceAttributes")
    if asked is not None:
        action = Action(
            asked.get("verb", ""), asked.get("group", ""), asked.get("resource", ""), asked.get("namespace", ""),
            asked.get("name", ""), sub=asked.get("subresource", ""),
        )  # fmt: skip
    else:
        asked = spec.get("nonResourceAttributes") or {}
        action = Action(asked.get("verb", ""), path=asked.get("path", ""))
    return {"allowed": authorizer.is_allowed(store, user, action)}


def _info(user: User) -> Obj:
    info: Obj = {"username": user.name, "uid": user.uid, "groups": sorted(user.groups)}
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {key: value for key, value in info.items() if value}
