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

Authorise = Callable[[Request], "bool | Awaitable[bool]"]


def accounts(passwords: Mapping[str, str]) -> Authorise:
    """HTTP Basic with one of these names and its password."""

    def authorise(request: Request) -> bool:
        given = _basic(request)
        # Every account is compared, in constant time: how long the answer takes tells nothing.
        matches = [_same(given, account) for account in passwords.items()]
        return given is not None and any(matches)

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
        given = _basic(request)
        if callable(known):
            return given is not None and bool(await _outcome(known, *given))
        return bool(accounts(known or {})(request))

    return authorise


async def _outcome(function: Callable, *arguments: Any) -> Any:
    """Asked outside the event loop, as it may look things up."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await run_in_threadpool(function, *arguments)


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None


def _same(given: tuple[str, str] | None, account: tuple[str, str]) -> bool:
    pairs = zip(given or ("", ""), account, strict=True)
    matches = [hmac.compare_digest(one.encode("utf-8"), other.encode("utf-8")) for one, other in pairs]
    return all(matches)


async def demand_login(authorise: Authorise | None, request: Request) -> None:
    """Raises `Refusal` for a request without the right credentials; None asks for none."""
    if authorise is not None:
        allowed = authorise(request)
        if not (await allowed if inspect.isawaitable(allowed) else allowed):
            raise Refusal("unauthorised", text("http.unauthorised"))
