"""Evaluates `[[ … ]]` (the bash manual, conditional constructs)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import shell_expand, shell_test
from crdbmesh_simulator.machines.process import UsageError
from crdbmesh_simulator.machines.shell_syntax import Condition, Word

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.shell import Shell


class ConditionReader:
    """One evaluation."""

    def __init__(self, shell: Shell, command: Condition) -> None:
        self._shell = shell
        self._items: list[Word | str] = list(command.items)

    def value(self) -> bool:
        """Whether the condition holds."""
        value = self._either()
        if self._items:
            raise UsageError("syntax error in conditional expression", 2)
        return value

    def _either(self) -> bool:
        value = self._both()
        while self._items and self._items[0] == "||":
            self._items.pop(0)
            value = self._both() or value
        return value

    def _both(self) -> bool:
        value = self._single()
        while self._items and self._items[0] == "&&":
            self._items.pop(0)
            value = self._single() and value
        return value

    def _single(self) -> bool:
        if not self._items:
            raise UsageError("syntax error in conditional expression", 2)
        item = self._items.pop(0)
        if item == "!":
            return not self._single()
        if item == "(":
            value = self._either()
            if not self._items or self._items.pop(0) != ")":
                raise UsageError("syntax error in conditional expression", 2)
            return value
        if isinstance(item, str):
            raise UsageError(f"unexpected token `{item}' in conditional expression", 2)
        left = shell_expand.text(self._shell, item)
        following = self._items[0] if self._items else None
        if isinstance(following, str) and following in ("=", "==", "!=", "=~", "<", ">"):
            self._items.pop(0)
            return self._compare(left, following, self._operand())
        if re.fullmatch(r"-[a-zA-Z]", left) and following is not None and not isinstance(following, str):
            word = self._operand()
            if left == "-v":
                return self._shell.parameter(shell_expand.text(self._shell, word)) is not None
            return shell_test.unary(self._shell.process, left, shell_expand.text(self._shell, word))
        if following is not None and not isinstance(following, str):
            operator = shell_expand.text(self._shell, self._operand())
            right = shell_expand.text(self._shell, self._operand())
            return shell_test.binary(self._shell.process, left, operator, right)
        return bool(left)

    def _operand(self) -> Word:
        if not self._items or isinstance(self._items[0], str):
            raise UsageError("unexpected argument in conditional expression", 2)
        word = self._items.pop(0)
        assert not isinstance(word, str)
        return word

    def _compare(self, left: str, operator: str, word: Word) -> bool:
        if operator == "=~":
            return re.search(shell_expand.regular(self._shell, word), left) is not None
        if operator in ("<", ">"):
            right = shell_expand.text(self._shell, word)
            return left < right if operator == "<" else left > right
        same = shell_expand.matches(left, shell_expand.pattern(self._shell, word))
        return same == (operator != "!=")
