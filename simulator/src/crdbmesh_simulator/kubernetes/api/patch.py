"""The patch formats of the Kubernetes API, apart from apply.

JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386), and strategic merge patch after
`staging/src/k8s.io/apimachinery/pkg/util/strategicpatch` of Kubernetes 1.36.
"""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.schema import Type

JSON, MERGE, STRATEGIC = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
_DIRECTIVE, _REPLACE, _MERGE, _DELETE = "$patch", "replace", "merge", "delete"


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with a JSON Merge Patch in it."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


# JSON Patch.


def json_patch(target: Obj, operations: Any) -> Obj:
    """`target` with the operations of a JSON Patch done to it.

    Raises:
        StatusError: 400 for what is no JSON Patch; 422 for an operation that fails.
    """
    if not isinstance(operations, list):
        raise status.bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > 10_000:
        raise status.StatusError(
            413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000"
        )
    document: Any = clone(target)
    for operation in operations:
        document = _operate(document, operation)
    result: Obj = document
    return result


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or "path" not in operation:
        raise status.bad_request("error decoding patch: missing required field")
    kind, path = operation.get("op"), str(operation["path"])
    if kind == "test":
        if _get(document, path) != operation.get("value"):
            raise _failed(f"testing path {path} failed")
        return document
    if kind in ("add", "replace"):
        if "value" not in operation:
            raise _failed(f"{kind} operation does not apply: doc is missing value: {path}: missing value")
        return _put(document, path, clone(operation["value"]), replace=kind == "replace")
    if kind == "remove":
        return _take(document, path)
    if kind in ("move", "copy"):
        origin = str(operation.get("from"))
        value = clone(_get(document, origin))
        rest = _take(document, origin) if kind == "move" else document
        return _put(rest, path, value, replace=False)
    raise _failed(f"Unexpected kind: {kind}")


def _failed(_why: str) -> status.StatusError:
    """422. The API server does not pass on why a JSON Patch does not apply."""
    message = "the server rejected our request due to an error in our request"
    return status.StatusError(422, "Invalid", message, empty_details=True)


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise _failed(f"invalid path: {path}")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _get(document: Any, path: str) -> Any:
    node = document
    for token in _tokens(path):
        if isinstance(node, dict) and token in node:
            node = node[token]
        elif isinstance(node, list) and token.isdigit() and int(token) < len(node):
            node = node[int(token)]
        else:
            raise _failed(f"path {path}: missing value")
    return node


def _parent(document: Any, path: str) -> tuple[Any, str]:
    tokens = _tokens(path)
    parent = _get(document, "".join(f"/{token.replace('~', '~0').replace('/', '~1')}" for token in tokens[:-1]))
    return parent, tokens[-1]


def _put(document: Any, path: str, value: Any, *, replace: bool) -> Any:
    if path == "":
        return value
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        if replace and last not in parent:
            raise _failed(f"replace operation does not apply: doc is missing key: {path}: missing value")
        parent[last] = value
        return document
    if isinstance(parent, list):
        if last == "-" and not replace:
            parent.append(value)
            return document
        if last.isdigit() and int(last) < len(parent) + (0 if replace else 1):
            if replace:
                parent[int(last)] = value
            else:
                parent.insert(int(last), value)
            return document
    raise _failed(
        f"{'replace' if replace else 'add'} operation does not apply: doc is missing path: {path}: missing value"
    )


def _take(document: Any, path: str) -> Any:
    parent, last = _parent(document, path)
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list) and last.isdigit() and int(last) < len(parent):
        del parent[int(last)]
    else:
        raise _failed(f"remove operation does not apply: doc is missing path: {path}: missing value")
    return document


# Strategic merge patch.


def strategic(type_: Type, target: Any, patch: Any) -> Any:
    """`target` with a strategic merge patch in it, by the merge keys of its type.

    Raises:
        StatusError: 400 for a patch that is malformed.
    """
    if not isinstance(patch, dict):
        raise status.bad_request("json: cannot unmarshal into Go value of type map[string]interface {}")
    return _merge_map(type_, target if isinstance(target, dict) else {}, patch)


def _merge_map(type_: Type, target: Obj, patch: Obj) -> Any:
    directive = patch.get(_DIRECTIVE)
    if directive == _REPLACE:
        return {key: clone(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == _DELETE:
        return {}
    if directive not in (None, _MERGE):
        raise status.bad_request(f"Unknown patch type: {directive}")
    result = dict(target)
    retained = patch.get("$retainKeys")
    if retained is not None:
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [each for each in result.get(name) or [] if each not in (value or [])]
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
            continue
        child = type_.child(key)
        if isinstance(value, dict):
            mine = result.get(key)
            if value.get(_DIRECTIVE) == _DELETE:
                result.pop(key, None)
                continue
            result[key] = _merge_map(child, mine if isinstance(mine, dict) else {}, value)
        elif isinstance(value, list):
            result[key] = _merge_list(child, result.get(key), value, patch.get(f"$setElementOrder/{key}"))
        else:
            result[key] = value
    for key, order in patch.items():
        name = key.partition("/")[2]
        if key.startswith("$setElementOrder/") and name not in patch and isinstance(result.get(name), list):
            result[name] = _ordered(type_.child(name), result[name], order)
    return result


def _merge_list(type_: Type, target: Any, patch: list[Any], order: Any) -> list[Any]:
    if "merge" not in type_.strategies:
        return [clone(each) for each in patch if not (isinstance(each, dict) and _DIRECTIVE in each)]
    mine = list(target) if isinstance(target, list) else []
    if type_.merge_key is None:
        merged = [*mine, *(each for each in patch if each not in mine)]
        return _ordered(type_, merged, order)
    if any(isinstance(each, dict) and each.get(_DIRECTIVE) == _REPLACE for each in patch):
        return [
            clone(each)
            for each in patch
            if not (isinstance(each, dict) and each.get(_DIRECTIVE) == _REPLACE and len(each) == 1)
        ]
    key = type_.merge_key
    for element in patch:
        if not isinstance(element, dict) or key not in element:
            raise status.bad_request(f"map: {element} does not contain declared merge key: {key}")
        at = next((i for i, each in enumerate(mine) if isinstance(each, dict) and each.get(key) == element[key]), None)
        if element.get(_DIRECTIVE) == _DELETE:
            mine = [each for each in mine if not (isinstance(each, dict) and each.get(key) == element[key])]
        elif at is None:
            mine.append(_merge_map(type_.element, {}, element))
        else:
            mine[at] = _merge_map(type_.element, mine[at], element)
    return _ordered(type_, mine, order)


def _ordered(type_: Type, elements: list[Any], order: Any) -> list[Any]:
    """Elements in the order that the client asked for; those it did not name keep their places relative to others."""
    if not isinstance(order, list):
        return elements
    key = type_.merge_key

    def identity(element: Any) -> Any:
        return element.get(key) if key is not None and isinstance(element, dict) else element

    wanted = [identity(each) for each in order]
    named = sorted(
        (each for each in elements if identity(each) in wanted), key=lambda each: wanted.index(identity(each))
    )
    return [named.pop(0) if identity(each) in wanted else each for each in elements]
