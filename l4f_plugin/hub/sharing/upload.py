"""Uploads a folder to the Hub, as a model repository or a Space; huggingface_hub 0.25 to 2.4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...bundles.fields import REPOSITORY_ID
from ...errors import UserError, printable
from ..hub_errors import is_of_the_network, of_the_way_there, why_offline
from ..repository import honour_certificates

LOG_IN = "log in with `hf auth login` or set HF_TOKEN, with a token that may write"
_BY_HAND = "write the folder with `l4f publish` or `l4f space` and --dry-run DIR, and upload it by hand"


@dataclass(frozen=True)
class Target:
    """A repository OWNER/NAME of the Hub: `kind` is model or space. `private` makes a new one private.

    Raises `UserError` for what cannot be a name.
    """

    repository: str
    kind: str = "model"
    private: bool = False

    def __post_init__(self) -> None:
        if not REPOSITORY_ID.fullmatch(self.repository) or ".." in self.repository or "--" in self.repository:
            raise UserError(f"{printable(self.repository)!r} is no name of a Hub repository; give it as OWNER/NAME.")


def upload(folder: Path, target: Target, *, replaced: Sequence[str] = (), message: str | None = None) -> str:
    """Makes the repository where there is none and puts the files of `folder` into it.

    Files of the repository that match a pattern of `replaced` and are not in `folder` are deleted with it. The
    login is huggingface_hub's own (HF_TOKEN, or what `hf auth login` keeps). Returns the address of the page.
    Raises `UserError`.
    """
    from huggingface_hub import HfApi, constants

    if reason := why_offline():
        raise UserError(f"Nothing can be uploaded while {reason}; change that, or {_BY_HAND}.")
    honour_certificates()
    api = HfApi(endpoint=constants.ENDPOINT, library_name="labels4free")
    space = {"space_sdk": "gradio"} if target.kind == "space" else {}
    chosen = {"private": True} if target.private else {}
    with upload_errors(target.repository):
        made = api.create_repo(target.repository, repo_type=target.kind, exist_ok=True, **space, **chosen)
        repository = getattr(made, "repo_id", None) or target.repository
        if target.private and not api.repo_info(repository, repo_type=target.kind).private:
            raise UserError(
                f"{repository} is there already and public, so nothing was uploaded; make it private on "
                "its page, choose another name, or do not ask for a private one."
            )
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            repo_type=target.kind,
            delete_patterns=list(replaced) or None,
            commit_message=message or "Published with Labels4Free",
        )
    return f"{constants.ENDPOINT}/{'spaces/' if target.kind == 'space' else ''}{repository}"


@contextmanager
def upload_errors(repository: str) -> Iterator[None]:
    """Turns what fails on the way to the Hub into a `UserError`; nothing of the answer, nor the login, is quoted."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # which library raises what differs between releases
        sentence = _sentence(error, repository)
        if sentence is None:
            raise
        raise UserError(sentence) from None


def _sentence(error: Exception, repository: str) -> str | None:
    from huggingface_hub import errors

    if sentence := of_the_way_there(error):
        return sentence
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"Nobody is logged in, so {repository} cannot be written; {LOG_IN}."
    if isinstance(error, errors.HFValidationError):
        return f"{repository!r} is no name of a Hub repository; give it as OWNER/NAME."
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(repository, getattr(error.response, "status_code", None))
    if is_of_the_network(error) and not isinstance(error, (FileNotFoundError, PermissionError)):
        return (
            f"{repository} could not be uploaded ({type(error).__name__}); check the connection and try again, "
            f"or {_BY_HAND}."
        )
    return None


def _refusal(repository: str, status: int | None) -> str:
    if status == 401:
        return f"The Hub does not know who you are (HTTP status 401), so {repository} cannot be written; {LOG_IN}."
    if status == 403:
        return (
            f"The Hub does not let you write {repository} (HTTP status 403); choose a name under your own account, "
            f"or {LOG_IN}."
        )
    if status == 404:
        return f"The Hub has no account or repository {repository} that you may write; check the name, or {LOG_IN}."
    if status in (409, 412):
        return f"{repository} is being changed by somebody else (HTTP status {status}); try again in a minute."
    if status == 413:
        return f"The Hub finds a file of {repository} too large (HTTP status 413); publish a smaller class."
    if status == 429:
        return f"The Hub has been asked too often (HTTP status 429); wait some minutes, then share {repository} again."
    if status is not None and status >= 500:
        return (
            f"The Hub cannot take {repository} because of trouble of its own (HTTP status {status}); try again "
            f"later, or {_BY_HAND}."
        )
    return f"The Hub refused {repository} (HTTP status {status}); try again later, or {_BY_HAND}."
