"""Reads documents: YAML and JSON, and from outside with limits.

Machines, pods and Azure may send anything. A document of a few hundred bytes can name 10^8 values by YAML's aliases,
one without an end fills the memory, and one nested deeply enough ends the process.
"""

import json
from collections.abc import Callable
from typing import Any

import yaml

from crdbmesh.redaction import cut

MOST_BYTES = 8 * 2**20
"""The size of an answer, or of a command's output, beyond which it is not read."""
_MOST_YAML = 64 * 2**10
_MOST_VALUES = 250_000
_DEPTH = 64
_SHOWN = 100


class DocumentError(ValueError):
    """It is no document, or one beyond the limits; the message says which, and quotes nothing of it."""


def read_json(text: bytes | str) -> Any:
    """Return the document in a JSON text from outside; raise DocumentError beyond the limits, or for a key twice."""
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > MOST_BYTES or sum(map(raw.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise DocumentError("it is too large")
    return _read(lambda: json.loads(raw, object_pairs_hook=_object))


def read_yaml(text: bytes | str) -> Any:
    """Return the document in a YAML text from outside, which may have no aliases; raises as `read_json` does."""
    if len(text) > _MOST_YAML:
        raise DocumentError("it is too large")
    return _read(lambda: yaml.load(text, Loader=_Outside))  # noqa: S506 - a SafeLoader


def scalar(value: object) -> str:
    """Return a value from outside for a message: a long one cut, and of one that has parts only its kind."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    return cut(str(value), _SHOWN)


class Loader(yaml.SafeLoader):
    """YAML in which a key that is given twice is a mistake, where PyYAML would silently take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping's node after checking that its own keys differ; merged keys (`<<`) may be given again."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


class _Outside(Loader):
    """YAML without aliases."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Return the next node, unless it stands for another."""
        if self.check_event(yaml.AliasEvent):
            raise DocumentError("it has aliases")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise DocumentError("it gives a key twice")
    return made


def _read(load: Callable[[], Any]) -> Any:
    try:
        document = load()
        _check_depth(document, _DEPTH)
    except DocumentError:
        raise
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        # Without the cause, which may quote it.
        raise DocumentError("it is nested too deeply" if isinstance(error, RecursionError) else "it is none") from None
    return document


def _check_depth(value: object, left: int) -> None:
    if not left:
        raise RecursionError
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(one, left - 1)
