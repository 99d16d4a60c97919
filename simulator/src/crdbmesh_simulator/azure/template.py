"""A template with its parameters: which resources it asks for, in which order.

After learn.microsoft.com, "Understand the structure and syntax of ARM templates". Resources may be a list, or an object
by symbolic names; loops over resources are unrolled; `reference` is answered when its resource is there.
"""

from __future__ import annotations

import functools
import graphlib
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.azure.errors import ArmError, Body
from crdbmesh_simulator.azure.expressions import (
    PLAIN,
    Function,
    TemplateError,
    Unknown,
    UnknownFunctionError,
    evaluate,
)

Reference = Callable[..., Any]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "securestring": str, "int": int, "bool": bool, "array": list, "object": dict, "secureobject": dict,
}  # fmt: skip
_OWN = {"dependson", "copy", "condition", "type", "name", "apiversion", "comments", "resources", "existing"}


@dataclass(slots=True)
class Item:
    """A resource of a template.

    Attributes:
        symbol: its symbolic name, or empty.
        body: what is sent, its expressions not evaluated yet.
        waits_for: ids in lower case of the resources of the template that have to be there first.
        index: its place in a loop, by the loop's name; under the empty name too.
    """

    id: str
    type: str
    name: str
    api_version: str
    body: Body
    symbol: str = ""
    waits_for: set[str] = field(default_factory=set)
    index: dict[str, int] = field(default_factory=dict)


class Template:
    """A template and the values of its parameters.

    Args:
        scope: the id of the resource group.
        given: `properties.parameters` of a deployment: `{name: {"value": ...}}`.
        functions: those that depend on where the template is deployed, by their names in lower case.

    Raises:
        ArmError: 400, the template is not valid, or 501, it needs what this world does not have.
    """

    def __init__(self, template: Any, given: Any, scope: str, functions: Mapping[str, Function]) -> None:
        if not isinstance(template, dict) or not template.get("$schema") or "resources" not in template:
            raise invalid("required properties of the template, '$schema' and 'resources', are missing")
        self._template = template
        self._scope = scope
        self.parameters: dict[str, Any] = {}
        self._functions: dict[str, Function] = {
            **PLAIN,
            "parameters": self._parameter,
            "variables": self._variable,
            "resourceid": self._resource_id,
            **functions,
        }
        self._read_parameters(given or {})
        self.items = list(self._unroll())
        self._link()

    def shown_parameters(self) -> Body:
        """The parameters as a deployment shows them: of secrets, only that they are there."""
        shown: Body = {}
        for name, spec in self._declared().items():
            kind = str(spec.get("type", ""))
            shown[name] = {"type": kind[:1].upper() + kind[1:]}
            if not kind.lower().startswith("secure"):
                shown[name]["value"] = self.parameters[name.lower()]
        return shown

    def body(self, item: Item, reference: Reference) -> Body:
        """What is sent for a resource; null is as good as absent."""
        body: Body = _without_nulls(self._evaluate(item.body, reference, item.index))
        return body

    def outputs(self, reference: Reference) -> Body:
        """The outputs, each with its type and value."""
        found: Body = {}
        for name, spec in (self._template.get("outputs") or {}).items():
            if self._evaluate(spec.get("condition", True), reference):
                kind = str(spec.get("type", ""))
                if "copy" in spec:
                    value = self._evaluate({"copy": [{**spec["copy"], "name": ""}]}, reference)[""]
                else:
                    value = self._evaluate(spec["value"], reference)
                found[name] = {"type": kind[:1].upper() + kind[1:], "value": value}
        return found

    # Parameters and variables.

    def _declared(self) -> dict[str, Body]:
        return dict(self._template.get("parameters") or {})

    def _read_parameters(self, given: Mapping[str, Any]) -> None:
        declared = self._declared()
        if not all(isinstance(entry, dict) for entry in given.values()):
            raise invalid("Each parameter must be an object with a 'value'.")
        if any("reference" in entry for entry in given.values()):
            raise UnknownFunctionError("a parameter from a key vault")
        unknown = [name for name in given if name.lower() not in {each.lower() for each in declared}]
        if unknown:
            raise invalid(
                f"The template parameters '{', '.join(unknown)}' in the parameters file are not valid; they are not "
                "present in the original template and can therefore not be provided at deployment time. The only "
                f"supported parameters for this template are '{', '.join(declared)}'. Please see "
                "https://aka.ms/arm-pass-parameter-values for usage details."
            )
        values = {
            name.lower(): entry.get("value") if isinstance(entry, dict) else None for name, entry in given.items()
        }
        for name, spec in declared.items():
            value = values.get(name.lower())
            if value is None and "defaultValue" in spec:
                value = self._evaluate(spec["defaultValue"])
            elif value is None and not spec.get("nullable"):
                raise invalid(
                    f"The value for the template parameter '{name}' is not provided. Please see "
                    "https://aka.ms/arm-create-parameter-file for usage details."
                )
            self._require_value(name, spec, value)
            self.parameters[name.lower()] = value

    def _require_value(self, name: str, spec: Body, value: Any) -> None:
        wanted = _TYPES.get(str(spec.get("type", "")).lower())
        if wanted is None:
            raise invalid(f"The type '{spec.get('type')}' of the template parameter '{name}' is not valid.")
        if value is not None and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            raise invalid(f"The value supplied for the template parameter '{name}' is not of the type {spec['type']}.")
        if "allowedValues" in spec and value not in spec["allowedValues"]:
            allowed = ",".join(map(str, spec["allowedValues"]))
            raise invalid(
                f"The provided value '{value}' for the template parameter '{name}' is not valid. The value '{value}' "
                f"is not part of the allowed value(s): '{allowed}'."
            )

    def _parameter(self, name: str) -> Any:
        if name.lower() not in self.parameters:
            raise TemplateError(
                f"The template parameter '{name}' is not found. Please see https://aka.ms/arm-syntax-parameters for "
                "usage details."
            )
        return self.parameters[name.lower()]

    def _variable(self, name: str) -> Any:
        variables = dict(self._template.get("variables") or {})
        for loop in _loops(variables):
            variables[str(loop["name"])] = {"copy": [loop]}
        for each, value in variables.items():
            if each.lower() == name.lower():
                found = self._evaluate(value)
                return found[each] if _loops(value if isinstance(value, dict) else {}) else found
        raise TemplateError(
            f"The template variable '{name}' is not found. Please see https://aka.ms/arm-syntax-variables for usage "
            "details."
        )

    # Resources.

    def _unroll(self) -> Iterator[Item]:
        given = self._template["resources"]
        named = given.items() if isinstance(given, dict) else (("", each) for each in given)
        for symbol, resource in named:
            if resource.get("existing"):
                continue
            loop = resource.get("copy")
            count = 1 if loop is None else self._evaluate(loop["count"])
            for number in range(count):
                index = {} if loop is None else {"": number, str(loop["name"]).lower(): number}
                if self._evaluate(resource.get("condition", True), index=index):
                    yield from self._item(symbol, resource, index)

    def _item(self, symbol: str, resource: Body, index: dict[str, int], parent: Item | None = None) -> Iterator[Item]:
        kind = str(resource.get("type", ""))
        name = str(self._evaluate(resource.get("name", ""), index=index))
        if parent is not None:
            kind, name = f"{parent.type}/{kind}", f"{parent.name}/{name}"
        api_version = str(self._evaluate(resource.get("apiVersion", self._template.get("apiProfile", "")), index=index))
        if kind.count("/") != name.count("/") + 1:
            raise invalid(
                f"The template resource '{name}' for type '{kind}' has incorrect segment lengths. A nested resource "
                "type must have identical number of segments as its resource name."
            )
        if not api_version:
            raise invalid(f"The template resource '{name}' has no 'apiVersion'.")
        body = {key: value for key, value in resource.items() if key.lower() not in _OWN}
        item = Item(self._id(kind, name), kind, name, api_version, body, symbol, index=index)
        item.waits_for = {str(self._evaluate(each, index=index)) for each in resource.get("dependsOn") or []}
        if parent is not None:
            item.waits_for.add(parent.id)
        yield item
        for child in resource.get("resources") or []:
            yield from self._item("", child, index, item)

    def _link(self) -> None:
        """Turn what resources wait for into ids, and refuse what cannot be."""
        for item in self.items:
            item.waits_for = {found for each in item.waits_for for found in self._resolve(each)}
            item.waits_for |= self._referred(item)
        try:
            graphlib.TopologicalSorter({item.id.lower(): item.waits_for for item in self.items}).prepare()
        except graphlib.CycleError as error:
            raise invalid(
                f"Circular dependency detected on resource: '{error.args[1][0]}'. Please see "
                "https://aka.ms/arm-syntax-resources for usage details."
            ) from error

    def _resolve(self, text: str) -> list[str]:
        """The resources that an entry of `dependsOn` names: an id, `type/name`, a name, a symbol or a loop."""
        key = text.strip("/").lower()
        found = [
            item.id.lower()
            for item in self.items
            if key in (item.id.strip("/").lower(), f"{_interleaved(item.type, item.name)}".lower(), item.name.lower())
            or (item.symbol and key == item.symbol.lower())
            or (key and key in item.index)
        ]
        if not found and not key.startswith("subscriptions/"):
            raise invalid(
                f"The resource '{text}' is not defined in the template. Please see https://aka.ms/arm-syntax for usage "
                "details."
            )
        return found

    def _referred(self, item: Item) -> set[str]:
        """What a resource's own expressions refer to: it waits for that too."""
        own = {each.id.lower() for each in self.items} | {each.symbol.lower() for each in self.items if each.symbol}
        seen: set[str] = set()

        def note(name: str, *_more: Any) -> Any:
            if name.lower() in own or any(each.name.lower() == name.lower() for each in self.items):
                seen.update(self._resolve(name))
            return Unknown()

        try:
            self._evaluate(item.body, note, item.index)
        except UnknownFunctionError:
            raise
        except TemplateError as error:
            if not seen:
                raise invalid(str(error)) from error
        return seen

    # Ids and expressions.

    def _id(self, kind: str, name: str) -> str:
        return f"{self._scope}/providers/{_interleaved(kind, name)}"

    def _resource_id(self, *parts: str) -> str:
        at = next((number for number, part in enumerate(parts) if "/" in part), len(parts))
        if not 0 <= at <= 2 or at == len(parts):
            raise TemplateError(f"Unable to evaluate the template function 'resourceId': {', '.join(parts)}.")
        scope = self._scope.split("/")
        if at:
            scope[4] = parts[at - 1]
        if at == 2:
            scope[2] = parts[0]
        return f"{'/'.join(scope)}/providers/{_interleaved(parts[at], '/'.join(parts[at + 1 :]))}"

    def _unrolled(self, value: Any, functions: Mapping[str, Function], index: Mapping[str, int]) -> Any:
        """A value with its loops over properties written out and evaluated."""
        if isinstance(value, list):
            return [self._unrolled(each, functions, index) for each in value]
        if not isinstance(value, dict):
            return value
        loops = _loops(value)
        found = {
            key: self._unrolled(each, functions, index) for key, each in value.items() if key != "copy" or not loops
        }
        for loop in loops:
            name = str(loop["name"])
            entries = []
            for number in range(evaluate(loop["count"], functions)):
                inner = {**index, name.lower(): number, "": number}
                own: dict[str, Function] = {**functions, "copyindex": functools.partial(_copy_index, inner)}
                entries.append(evaluate(self._unrolled(loop["input"], own, inner), own))
            found[name] = [_escaped(entry) for entry in entries]
        return found

    def _evaluate(self, value: Any, reference: Reference | None = None, index: dict[str, int] | None = None) -> Any:
        functions: dict[str, Function] = {
            **self._functions,
            "reference": reference or _too_early,
            "copyindex": functools.partial(_copy_index, index or {}),
        }
        try:
            return evaluate(self._unrolled(value, functions, index or {}), functions)
        except UnknownFunctionError:
            raise
        except TemplateError as error:
            if reference is not None:
                raise
            raise invalid(str(error)) from error


def _loops(value: Mapping[str, Any]) -> list[Body]:
    """The loops over properties of an object: `copy`, a list of a name, a count and an input each."""
    found = value.get("copy")
    return (
        found if isinstance(found, list) and all(isinstance(each, dict) and "input" in each for each in found) else []
    )


def _escaped(value: Any) -> Any:
    """A value that is evaluated already, so that evaluating it once more leaves it as it is."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return f"[{value}" if isinstance(value, str) and value.startswith("[") else value


def invalid(why: str) -> ArmError:
    """400 of a template."""
    return ArmError(400, "InvalidTemplate", f"Deployment template validation failed: '{why}'.")


def _interleaved(kind: str, name: str) -> str:
    namespace, *types = kind.split("/")
    return "/".join([namespace, *(part for pair in zip(types, name.split("/"), strict=True) for part in pair)])


def _copy_index(index: Mapping[str, int], name: Any = "", offset: int = 0) -> int:
    if isinstance(name, int):
        name, offset = "", name
    if name.lower() not in index:
        raise TemplateError(f"The template function 'copyIndex' has an unexpected parameter '{name}'.")
    return index[name.lower()] + offset


def _too_early(*_arguments: Any) -> Any:
    raise TemplateError("The template function 'reference' is not expected at this location.")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def path_of(item: Item) -> str:
    """The path at which a resource is put."""
    return "/".join(urllib.parse.quote(part, safe="") for part in item.id.split("/"))
