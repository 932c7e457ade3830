"""What the Hub refuses and what fails on the way there, each as one sentence that says what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, errors

from ..bundles.config import stand_in
from ..bundles.files import storage_error
from ..bundles.folders import models_folder
from ..errors import Cancelled, UserError

PROXY_LOGIN = (
    "The proxy asks for a login; put it into the proxy's address, as in HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT."
)
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_HTTP_LIBRARIES = {"requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub", "hf_xet"}
_NO_ADDRESS = {"InvalidURL", "InvalidProxyURL", "InvalidSchema", "MissingSchema", "UnsupportedProtocol"}


class MissingFile(UserError):
    """The repository is there and lacks the file."""


@contextmanager
def hub_errors(repository: str, by_hand: str | None = None, *, writing: bool = False) -> Iterator[None]:
    """Turns what huggingface_hub and the libraries below it raise into a `UserError`.

    Nothing of the answer, nor the login, is quoted. `by_hand` is the half of a sentence that says how to do without
    the Hub; `writing` says that something is uploaded.
    """
    try:
        yield
    except (UserError, Cancelled):
        raise
    except Exception as error:  # which library raises what differs between releases
        sentence = _sentence(error, repository, by_hand or put_by_hand(repository), writing)
        if sentence is None:
            raise
        missing = isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError)
        raise (MissingFile if missing else UserError)(sentence) from (None if writing else error)


def put_by_hand(repository: str) -> str:
    """How to do without the Hub, for a repository that holds a bundle."""
    return f"put its files at {models_folder() / stand_in(repository)}"


# What is said of an HTTP status when something is read, when it is written, and in both cases.
_READING = {
    401: "The Hub shows {repository} only to those who may read it {said}; check the name, then {log_in}, and replace "
    "a token that has expired.",
    403: "The Hub forbids {repository} {said}; ask its owner for access, or use a token that may read it.",
    404: "The Hub has no repository {repository} that you may read; check the name, or {log_in}.",
}
_WRITING = {
    401: "The Hub does not know who you are {said}, so {repository} cannot be written; {log_in}.",
    403: "The Hub does not let you write {repository} {said}; choose a name of your own account, or {log_in}.",
    404: "The Hub has no account or repository {repository} that you may write; check the name, or {log_in}.",
    409: "{repository} is being changed by somebody else {said}; try again in a minute.",
    412: "{repository} is being changed by somebody else {said}; try again in a minute.",
    413: "The Hub finds a file of {repository} too large {said}; publish a smaller class.",
}
_BOTH = {
    407: PROXY_LOGIN,
    429: "The Hub has been asked too often to {doing} {repository} {said}; wait some minutes, or {by_hand}.",
    500: "The Hub cannot {doing} {repository} because of trouble of its own {said}; try again later, or {by_hand}.",
    None: "The Hub refused {repository} {said}; try again later, or {by_hand}.",
}


def _refusal(repository: str, status: int | None, by_hand: str, writing: bool) -> str:
    table = _BOTH | (_WRITING if writing else _READING)
    return table.get(500 if status and status > 500 else status, table[None]).format(
        repository=repository,
        said=f"(HTTP status {status})",
        by_hand=by_hand,
        doing="take" if writing else "give",
        log_in=f"{LOG_IN}, with a token that may write" if writing else LOG_IN,
    )


def why_offline() -> str | None:
    """Why the Hub is not to be asked, as half a sentence; None where it may be.

    Like HF_HUB_OFFLINE, LABELS4FREE_OFFLINE forbids it, and counts while the program runs: a web UI sets it.
    """
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return "the settings say never to ask the Hub" if os.environ.get("LABELS4FREE_OFFLINE") else None


def offline(repository: str, by_hand: str, reason: str) -> str:
    """The sentence for what is neither here nor to be had."""
    return f"{repository} is not on this computer and {reason}; go online, or {by_hand}."


def is_of_the_network(error: BaseException) -> bool:
    """Whether an error met while talking HTTP is the connection's."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES


def of_the_way_there(error: BaseException) -> str | None:
    """What proxies and certificates make fail, or None; quotes nothing: a proxy's address may hold a password."""
    words = str(error).lower()
    if not (isinstance(error, ImportError | ValueError) or is_of_the_network(error)):
        return None
    if "socks" in words and ("socksio" in words or "missing dependencies" in words):
        package = "socksio" if "socksio" in words else "pysocks"
        return (
            f"The environment names a SOCKS proxy, for which a package is missing; run `pip install {package}`, or "
            "name an HTTP proxy in HTTPS_PROXY and unset ALL_PROXY."
        )
    if "proxy" in words and ("scheme" in words or "protocol" in words):
        return (
            "The environment names a proxy of an unknown kind; write its address as http://HOST:PORT or "
            "socks5://HOST:PORT in HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."
        )
    if type(error).__name__ in _NO_ADDRESS:
        return (
            "The environment names a server in a way that cannot be read; check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and "
            "HF_ENDPOINT, each as http://HOST:PORT."
        )
    if "407" in words and "proxy" in words:
        return PROXY_LOGIN
    if "certificate_verify_failed" in words:
        return (
            "The certificate of the server was refused; if your network has one of its own, name its file in "
            "SSL_CERT_FILE or REQUESTS_CA_BUNDLE, and check the clock."
        )
    return None


def status_of(error: Exception) -> int | None:
    """The HTTP status that an error is about, if it is."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _sentence(error: Exception, repository: str, by_hand: str, writing: bool) -> str | None:
    if sentence := of_the_way_there(error):
        return sentence
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"Nobody is logged in, so {repository} cannot be written; {LOG_IN}, with a token that may write."
    if isinstance(error, errors.HFValidationError):
        return f"{repository!r} is no name of a Hub repository; give it as OWNER/NAME."
    if writing and isinstance(error, errors.HfHubHTTPError):
        return _refusal(repository, status_of(error), by_hand, writing)
    if isinstance(error, errors.GatedRepoError):
        return f"{repository} asks for consent; accept its terms on its page of the Hub, then {LOG_IN}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return _refusal(repository, 404, by_hand, writing)
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no such revision on the Hub; check the revision."
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        return offline(repository, by_hand, why_offline() or "the Hub cannot be reached")
    if isinstance(error, errors.EntryNotFoundError):
        return f"{repository} lacks a file that is needed; choose another repository or revision."
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(repository, status_of(error), by_hand, writing)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return None if writing else str(storage_error(error, Path(error.filename)))
    if is_of_the_network(error):
        kind, done = type(error).__name__, "uploaded" if writing else "fetched"
        return f"{repository} could not be {done} ({kind}); check the connection and try again, or {by_hand}."
    return None
