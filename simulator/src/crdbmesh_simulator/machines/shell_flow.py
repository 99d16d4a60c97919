"""How the flow of a shell script is left: `exit`, `return`, `break`, and errors that end a shell."""

from __future__ import annotations


class ExitError(Exception):
    """`exit`, or the end by `set -e`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ReturnError(Exception):
    """`return` from a function or a sourced file."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class LoopError(Exception):
    """`break` or `continue`, `levels` loops up."""

    def __init__(self, levels: int, *, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


class AbandonedError(Exception):
    """An error that ends a non-interactive shell."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
