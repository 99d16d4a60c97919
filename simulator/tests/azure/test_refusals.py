"""The table of Azure's refusals holds exactly what the rules refuse with, and each rule fills the text's places."""

from __future__ import annotations

import ast
import functools
import string
import tomllib
from pathlib import Path

import crdbmesh_simulator.azure

_FOLDER = Path(crdbmesh_simulator.azure.__file__).parent
_OWN = {"target", "details", "retry_after_s", "headers"}


def _table() -> dict[str, tuple[int, str]]:
    return tomllib.loads((_FOLDER / "refusals.toml").read_text(encoding="utf-8"))


@functools.cache
def _uses() -> list[tuple[str, set[str]]]:
    calls = [
        node
        for path in _FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "refusal"
    ]
    return [(ast.literal_eval(call.args[0]), {str(word.arg) for word in call.keywords} - _OWN) for call in calls]


def test_every_refusal_of_the_table_is_used_and_every_one_used_is_in_it() -> None:
    assert {key for key, _ in _uses()} == set(_table())


def test_each_use_gives_what_the_text_asks_for_and_nothing_else() -> None:
    def asked(text: str) -> set[str]:
        fields = (field for _, field, _, _ in string.Formatter().parse(text) if field)
        return {field.partition(".")[0].partition("[")[0] for field in fields}

    wrong = {key: given ^ asked(_table()[key][1]) for key, given in _uses() if given != asked(_table()[key][1])}
    assert wrong == {}
