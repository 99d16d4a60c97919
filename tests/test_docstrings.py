"""Each docstring of the product says what a thing is or does, in a sentence that stands alone."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src/crdbmesh"
RIDDLE = re.compile(r"(How|What|When|Where|Whether|Which|Who|Whom|Whose|Why)\b")
"""A first word that makes a docstring a question, which its reader has to turn into a sentence."""


def docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, and the texts below constants and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield text
            for assigned, below in itertools.pairwise(node.body):
                if isinstance(assigned, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
                    value = below.value
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield value.value


def test_every_docstring_begins_and_ends_as_a_sentence() -> None:
    riddles = [
        f"{path.relative_to(SOURCE)}: {first}"
        for path in sorted(SOURCE.rglob("*.py"))
        for text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if (first := " ".join(text.partition("\n\n")[0].split()))
        and (RIDDLE.match(first) or not first.endswith((".", ":")))
    ]
    assert riddles == []
