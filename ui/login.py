"""Who may call the API: the accounts of the page, as HTTP Basic or by the cookie of whoever has logged in there."""

import base64
import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from . import compat
from .refusals import Refusal
from .texts import text

Authorise = Callable[[Request], Awaitable[bool]]
"""Tells whether a request carries the right credentials."""


def accounts(passwords: Mapping[str, str]) -> Authorise:
    """HTTP Basic with one of these names and its password."""
    known = [f"{name}:{password}".encode() for name, password in passwords.items()]

    async def authorise(request: Request) -> bool:
        given = _basic(request).encode()
        # Every account is compared, in constant time: how long the answer takes tells nothing.
        return any([hmac.compare_digest(given, account) for account in known])

    return authorise


def page(app: Any) -> Authorise | None:
    """The login of the Gradio page that `app` serves; None where the page asks for none."""
    if compat.logins(app) == (None, None):
        return None

    async def authorise(request: Request) -> bool:
        known, dependency = compat.logins(app)
        if dependency is not None:
            return bool(await _outcome(dependency, request))
        if compat.has_logged_in(app, request.cookies):
            return True
        if callable(known):
            name, colon, password = _basic(request).partition(":")
            return bool(colon and await _outcome(known, name, password))
        return await accounts(known or {})(request)

    return authorise


async def _outcome(function: Callable, *arguments: Any) -> Any:
    """Asked outside the event loop, as it may look things up."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await run_in_threadpool(function, *arguments)


def _basic(request: Request) -> str:
    """`name:password`, of which a name has no colon; empty where none are sent."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


async def demand_login(authorise: Authorise | None, request: Request) -> None:
    """Raises `Refusal` for a request without the right credentials; None asks for none."""
    if authorise is not None and not await authorise(request):
        raise Refusal("unauthorised", text("http.unauthorised"))
