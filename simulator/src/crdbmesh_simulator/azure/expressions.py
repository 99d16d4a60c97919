"""Expressions of Azure Resource Manager templates: `[concat('vm', parameters('name'))]`.

After the template language's reference (learn.microsoft.com, "ARM template functions"). Functions that this world
cannot compute as Azure does, such as `uniqueString` and `listKeys`, are refused, not guessed.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+)|([A-Za-z_][\w]*)|([()\[\],.]))")
_GUIDS = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")


class TemplateError(Exception):
    """An expression that cannot be evaluated, in Azure's words."""


class UnknownFunctionError(TemplateError):
    """A function that is not computed here."""


class Unknown(str):
    """What is not known yet, and any property of it: a `reference` to what is not deployed."""

    __slots__ = ()


Function = Callable[..., Any]


def is_expression(text: str) -> bool:
    """Whether a string of a template is to be evaluated."""
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def evaluate(value: Any, functions: Mapping[str, Function]) -> Any:
    """A value of a template with every expression in it evaluated; `functions` by their names in lower case.

    Raises:
        TemplateError: an expression is wrong.
    """
    if isinstance(value, Mapping):
        return {str(evaluate(key, functions)): evaluate(each, functions) for key, each in value.items()}
    if isinstance(value, list):
        return [evaluate(each, functions) for each in value]
    if not isinstance(value, str):
        return value
    if is_expression(value):
        return _Reader(value[1:-1], functions).read()
    return value[1:] if value.startswith("[[") else value


class _Reader:
    """Evaluates while it reads; what `if` does not choose is read and left."""

    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self._text = text
        self._functions = functions
        self._tokens = list(self._split(text))
        self._at = 0
        self._idle = 0

    def read(self) -> Any:
        value = self._value()
        if self._at != len(self._tokens):
            raise self._wrong()
        return value

    def _split(self, text: str) -> list[str]:
        tokens, at = [], 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._wrong()
            tokens.append(match[0].strip())
            at = match.end()
        return tokens

    def _wrong(self) -> TemplateError:
        return TemplateError(f"The language expression '{self._text}' cannot be parsed.")

    def _next(self, wanted: str = "") -> str:
        if self._at >= len(self._tokens) or (wanted and self._tokens[self._at] != wanted):
            raise self._wrong()
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _value(self) -> Any:
        token = self._next()
        if token.startswith("'"):
            value: Any = token[1:-1].replace("''", "'")
        elif re.fullmatch(r"-?\d+", token):
            value = int(token)
        elif re.fullmatch(r"[A-Za-z_]\w*", token):
            value = self._call(token)
        else:
            raise self._wrong()
        while self._peek() in (".", "["):
            value = self._member(value)
        return value

    def _member(self, value: Any) -> Any:
        if self._next() == ".":
            key: Any = self._next()
        else:
            key = self._value()
            self._next("]")
        if self._idle:
            return None
        if isinstance(value, Unknown):
            return value
        if isinstance(value, list) and isinstance(key, int) and -1 < key < len(value):
            return value[key]
        if isinstance(value, Mapping):
            for name, each in value.items():
                if name.lower() == str(key).lower():
                    return each
        raise TemplateError(f"The language expression property '{key}' doesn't exist, in '{self._text}'.")

    def _call(self, name: str) -> Any:
        self._next("(")
        arguments: list[Any] = []
        while self._peek() != ")":
            # `if` evaluates what it chooses only.
            skipped = name.lower() == "if" and len(arguments) in (1, 2) and bool(arguments[0]) == (len(arguments) == 2)
            self._idle += skipped
            arguments.append(self._value())
            self._idle -= skipped
            if self._peek() != ")":
                self._next(",")
        self._next(")")
        if self._idle:
            return None
        function = self._functions.get(name.lower())
        if function is None:
            raise UnknownFunctionError(f"the template function '{name}'")
        try:
            return function(*arguments)
        except TemplateError:
            raise
        except Exception as error:
            raise TemplateError(f"Unable to evaluate template function '{name}' in '{self._text}': {error}") from error


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _concat(*parts: Any) -> Any:
    if parts and all(isinstance(part, list) for part in parts):
        return [each for part in parts for each in part]
    return "".join(_text(part) for part in parts)


def _format(pattern: str, *values: Any) -> str:
    return re.sub(r"\{(\d+)(?::[^}]*)?\}", lambda match: _text(values[int(match[1])]), pattern)


def _union(*parts: Any) -> Any:
    if isinstance(parts[0], Mapping):
        return {key: value for part in parts for key, value in part.items()}
    joined = _concat(*parts)
    return [each for at, each in enumerate(joined) if each not in joined[:at]]


def _contains(within: Any, wanted: Any) -> bool:
    if isinstance(within, Mapping):
        return str(wanted).lower() in {key.lower() for key in within}
    return wanted in within


def _split_text(text: str, separators: Any) -> list[str]:
    marks = separators if isinstance(separators, list) else [separators]
    return re.split("|".join(re.escape(mark) for mark in marks), text)


def _equals(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _object(*pairs: Any) -> dict[str, Any]:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _cidr_subnet(network: str, length: int, index: int) -> str:
    within = ipaddress.ip_network(network)
    size = 1 << (within.max_prefixlen - length)
    return str(ipaddress.ip_network((int(within.network_address) + index * size, length)))


PLAIN: dict[str, Function] = {
    "add": lambda left, right: left + right,
    "and": lambda *values: all(values),
    "array": lambda value: value if isinstance(value, list) else [value],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64tostring": lambda text: base64.b64decode(text).decode(),
    "bool": lambda value: value if isinstance(value, bool) else str(value).lower() in ("true", "1"),
    "cidrhost": lambda network, index: str(ipaddress.ip_network(network)[index + 1]),
    "cidrsubnet": _cidr_subnet,
    "coalesce": _first_given,
    "concat": _concat,
    "contains": _contains,
    "createarray": lambda *values: list(values),
    "createobject": _object,
    "div": lambda left, right: int(left / right),
    "empty": lambda value: not value,
    "endswith": lambda text, end: text.lower().endswith(end.lower()),
    "equals": _equals,
    "false": lambda: False,
    "first": lambda value: value[0],
    "format": _format,
    "greater": lambda left, right: left > right,
    "greaterorequals": lambda left, right: left >= right,
    "guid": lambda *parts: str(uuid.uuid5(_GUIDS, "-".join(parts))),
    "if": lambda condition, yes, no: yes if condition else no,
    "indexof": lambda text, part: text.lower().find(part.lower()),
    "int": int,
    "join": lambda parts, mark: mark.join(_text(part) for part in parts),
    "json": json.loads,
    "last": lambda value: value[-1],
    "length": len,
    "less": lambda left, right: left < right,
    "lessorequals": lambda left, right: left <= right,
    "max": lambda *values: max(values[0] if isinstance(values[0], list) else values),
    "min": lambda *values: min(values[0] if isinstance(values[0], list) else values),
    "mod": lambda left, right: left % right,
    "mul": lambda left, right: left * right,
    "not": lambda value: not value,
    "null": lambda: None,
    "or": lambda *values: any(values),
    "padleft": lambda text, width, mark=" ": _text(text).rjust(width, mark),
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "skip": lambda value, count: value[count:],
    "split": _split_text,
    "startswith": lambda text, start: text.lower().startswith(start.lower()),
    "string": _text,
    "sub": lambda left, right: left - right,
    "substring": lambda text, start, length=None: text[start:] if length is None else text[start : start + length],
    "take": lambda value, count: value[:count],
    "tolower": lambda text: text.lower(),
    "toupper": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "true": lambda: True,
    "union": _union,
}
"""The functions that depend on nothing but their arguments."""
