"""The public "what is my address" service: GET / answers the caller's address, a line of plain text.

As api.ipify.org and its like answer it; no authentication, no JSON.
"""

from __future__ import annotations

from aiohttp import web


def create_app() -> web.Application:
    """The application; it keeps no state."""
    app = web.Application()
    app.router.add_get("/", _answer)
    return app


async def _answer(request: web.Request) -> web.Response:
    return web.Response(text=request.remote or "")
