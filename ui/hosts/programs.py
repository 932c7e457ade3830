"""The HTTP API on the host's app: only where the host serves its own, and behind the same credentials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..visitors import Visitors
from . import host
from .host_service import service
from .settings import read

if TYPE_CHECKING:
    from ..login import Authorise


def on_app_started(demo: Any, app: Any) -> None:
    """Mounts the API where the host is started with one; `demo` is None where it serves no page."""
    if serves_an_api():
        from .. import api

        login = authorise(app)
        api.mount(app, service(), login, visitors(demo, login is not None), host.sub_path())


def serves_an_api() -> bool:
    """Whether the host answers programs: where it was asked to, and always where that cannot be asked."""
    options = host.find("shared", "cmd_opts")
    if hasattr(options, "api"):
        return bool(host.flag("api", "nowebui"))
    return hasattr(host.part("modules.api.api"), "Api")


def visitors(demo: Any, login: bool) -> Visitors:
    """Which requests of browsers are let in: those under a name of the host's own."""
    public = urlsplit(getattr(demo, "share_url", None) or "").hostname
    return Visitors([*read("allowed_hosts").split(","), public or ""], login, programs=True)


def authorise(app: Any) -> Authorise | None:
    """Who may call it: the accounts of --api-auth, else whoever may see the page; None where everybody may."""
    from .. import login

    written = host.flag("api_auth")
    if written:
        return login.accounts(_accounts(str(written)))
    asked = login.page(app)
    if asked is None and host.has_login():  # a login, and no page that asks for it
        return login.accounts(_accounts_of_the_page())
    return asked


def _accounts_of_the_page() -> dict[str, str]:
    """The accounts of the host's page. Nobody gets in with a file that cannot be read."""
    found = _accounts(str(host.flag(*host.LOGINS) or ""))
    path = host.flag(*host.LOGIN_FILES)
    if path:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            found |= _accounts(line)
    return found


def _accounts(written: str) -> dict[str, str]:
    """Names and passwords of `name:password,name:password`."""
    pairs = (account.strip().strip('"').partition(":") for account in written.split(","))
    return {name: password for name, _, password in pairs if name and password}
