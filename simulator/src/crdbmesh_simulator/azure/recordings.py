"""Answers that Azure has given elsewhere, as somebody recorded them, to be given here the next time they fit.

They stand for what this world does not compute: policies, deny assignments, images that were withdrawn. Nothing is
changed by a request that is answered so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.azure.call import Answer, Call


@dataclass
class Recording:
    """An answer, and the requests that get it.

    `path`: what is in their path, as a regular expression, without regard to case. `times`: how many of them get it;
    all when negative.
    """

    method: str
    path: str
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    times: int = -1

    def fits(self, call: Call) -> bool:
        """Whether a request gets it."""
        found = re.search(self.path, call.path, re.IGNORECASE)
        return self.times != 0 and self.method == call.method and found is not None


class Recordings:
    """The answers that are to be given."""

    def __init__(self) -> None:
        self._left: list[Recording] = []

    def replace(self, document: object) -> None:
        """Take other answers instead: a list of objects with the fields of a `Recording`.

        Raises ValueError: it is something else.
        """
        if not isinstance(document, list):
            raise ValueError("it must be a list of recorded answers")  # noqa: TRY004 - one error for all
        try:
            self._left = [Recording(**one) for one in document]
        except TypeError as error:
            raise ValueError(f"it is no recorded answer: {error}") from error

    def find(self, call: Call) -> Answer | None:
        """The answer to a request, or None."""
        for one in self._left:
            if one.fits(call):
                one.times -= 1
                return Answer(one.status, one.body, dict(one.headers))
        return None
