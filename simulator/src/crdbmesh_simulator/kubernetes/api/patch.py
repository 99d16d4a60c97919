"""The patch formats of the Kubernetes API, apart from apply.

JSON Merge Patch (RFC 7386), strategic merge patch after
`staging/src/k8s.io/apimachinery/pkg/util/strategicpatch` of Kubernetes 1.36, and of JSON Patch (RFC 6902) the operation
`replace`, with which `kubectl apply --server-side` hands over the fields of a client-side apply.
"""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.schema import Type

JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_DIRECTIVE, _REPLACE, _DELETE = "$patch", "replace", "delete"
_ORDER, _DROPPED, _RETAINED = "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with a JSON Merge Patch in it."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Obj, operations: list[Any]) -> Obj:
    """Return `target` with the `replace` operations of a JSON Patch carried out.

    Raises StatusError: 422, as the API server words it: another operation, or a path that is not there.
    """
    result: Obj = clone(target)
    for operation in operations:
        *way, last = [word.replace("~1", "/").replace("~0", "~") for word in str(operation.get("path")).split("/")[1:]]
        node: Any = result
        for word in way:
            node = node.get(word) if isinstance(node, dict) else None
        if operation.get("op") != "replace" or not isinstance(node, dict) or last not in node:
            message = "the server rejected our request due to an error in our request"
            raise status.StatusError(422, "Invalid", message, empty_details=True)
        node[last] = operation.get("value")
    return result


def strategic(type_: Type, target: Obj, patch: Obj) -> Obj:
    """Return `target` with a strategic merge patch in it, by the merge keys of its type.

    Raises StatusError: 400 for a patch that is malformed.
    """
    directive = patch.get(_DIRECTIVE)
    if directive == _REPLACE:
        return {key: clone(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive is not None:
        raise status.bad_request(f"Unknown patch type: {directive}")
    result = dict(target)
    if _RETAINED in patch:
        result = {key: value for key, value in result.items() if key in patch[_RETAINED]}
    for key, value in patch.items():
        if key.startswith(_DROPPED):
            name = key.removeprefix(_DROPPED)
            result[name] = [each for each in result.get(name) or [] if each not in value]
        if key.startswith("$"):
            continue
        mine, child = result.get(key), type_.child(key)
        if value is None or (isinstance(value, dict) and value.get(_DIRECTIVE) == _DELETE):
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = strategic(child, mine if isinstance(mine, dict) else {}, value)
        elif isinstance(value, list):
            result[key] = _merge_list(child, mine if isinstance(mine, list) else [], value)
        else:
            result[key] = value
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and isinstance(result.get(name), list):
            result[name] = _ordered(type_.child(name), result[name], order, target.get(name) or [])
    return result


def _merge_list(type_: Type, live: list[Any], patch: list[Any]) -> list[Any]:
    if "merge" not in type_.strategies:
        return [clone(each) for each in patch]
    merged = list(live)
    if type_.merge_key is None:
        merged += [each for each in patch if each not in live]
        return _ordered(type_, merged, patch, live)
    key = type_.merge_key
    for element in patch:
        if not isinstance(element, dict) or key not in element:
            raise status.bad_request(f"map: {element} does not contain declared merge key: {key}")
        at = next((i for i, each in enumerate(merged) if each.get(key) == element[key]), None)
        if element.get(_DIRECTIVE) == _DELETE:
            merged = [each for each in merged if each.get(key) != element[key]]
        elif at is None:
            merged.append(strategic(type_.element, {}, element))
        else:
            merged[at] = strategic(type_.element, merged[at], element)
    return _ordered(type_, merged, patch, live)


def _ordered(type_: Type, merged: list[Any], order: list[Any], live: list[Any]) -> list[Any]:
    """Order a merged list: what the patch names in its order, and before it what stood before it in the live list.

    An element that is new comes first, before all that the patch does not name (`mergeSortedSlice`).
    """

    def identity(element: Any) -> Any:
        return element.get(type_.merge_key) if type_.merge_key and isinstance(element, dict) else element

    wanted, before = [identity(each) for each in order], [identity(each) for each in live]
    named = sorted((each for each in merged if identity(each) in wanted), key=lambda each: wanted.index(identity(each)))
    others = [each for each in merged if identity(each) not in wanted]
    result: list[Any] = []
    while named and others:
        known = identity(named[0]) in before
        first = known and before.index(identity(others[0])) < before.index(identity(named[0]))
        result.append(others.pop(0) if first else named.pop(0))
    return [*result, *others, *named]
