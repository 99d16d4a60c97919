"""What a request carries: JSON, or what Azure Resource Manager's front end says to anything else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from crdbmesh_simulator.azure.errors import ArmError, refusal

_UNREADABLE = "Unexpected character encountered while parsing value. Path '', line 0, position 0."


@dataclass(frozen=True, slots=True)
class Content:
    """A request's content.

    `value`: the JSON value; None when there is none, or none that can be read. `error`: why it cannot be read, or None.
    """

    value: Any = None
    error: ArmError | None = None

    def require_readable(self) -> None:
        """Refuse content that cannot be read. Raises ArmError: 400, 413 or 415."""
        if self.error is not None:
            raise self.error


async def read(request: web.Request) -> Content:
    """The content of a request."""
    try:
        raw = await request.read()
    except ConnectionError as error:
        raise web.HTTPBadRequest(text="The client went away.") from error
    except web.HTTPRequestEntityTooLarge:
        return Content(error=refusal("RequestContentTooLarge"))
    if not raw:
        return Content()
    given = request.headers.get("Content-Type")
    if (given or "").partition(";")[0].strip().lower() not in ("application/json", "text/json"):
        return Content(error=refusal("UnsupportedMediaType", kind=given or "<null>"))
    try:
        return Content(json.loads(raw, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return Content(error=refusal("InvalidRequestContent", problem=_UNREADABLE))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
