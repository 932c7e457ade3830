"""Uploads a folder to the Hub, as a model repository or a Space; huggingface_hub 0.25 to 2.4."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants

from ...bundles.fields import REPOSITORY_ID
from ...errors import UserError, printable
from ..hub_errors import hub_errors, why_offline
from ..repository import honour_certificates

_BY_HAND = "write the folder with `l4f publish` or `l4f space` and --dry-run DIR, and upload it by hand"


def check_name(repository: str) -> None:
    """Raises `UserError` for what cannot be the name of a repository, OWNER/NAME."""
    if not REPOSITORY_ID.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UserError(f"{printable(repository)!r} is no name of a Hub repository; give it as OWNER/NAME.")


def logged_in_as() -> str | None:
    """What the Hub calls whoever is logged in on this computer; None where nobody is or it cannot be asked."""
    try:
        return HfApi().whoami()["name"]
    except Exception:  # without a login, without the network, or with a token that is no longer good
        return None


def upload(
    folder: Path, repository: str, kind: str = "model", private: bool = False, replaced: Sequence[str] = ()
) -> str:
    """Makes the repository where there is none and puts the files of `folder` into it.

    `kind` is model or space; `private` makes a new one private. Files of the repository that match a pattern of
    `replaced` and are not in `folder` are deleted with it. The login is huggingface_hub's own (HF_TOKEN, or what
    `hf auth login` keeps). Returns the address of the page. Raises `UserError`.
    """
    if reason := why_offline():
        raise UserError(f"Nothing can be uploaded while {reason}; change that, or {_BY_HAND}.")
    honour_certificates()
    api = HfApi(endpoint=constants.ENDPOINT, library_name="labels4free")
    space = {"space_sdk": "gradio"} if kind == "space" else {}
    chosen = {"private": True} if private else {}
    with hub_errors(repository, _BY_HAND, writing=True):
        made = api.create_repo(repository, repo_type=kind, exist_ok=True, **space, **chosen)
        repository = getattr(made, "repo_id", None) or repository
        if private and not api.repo_info(repository, repo_type=kind).private:
            raise UserError(
                f"{repository} is there already and public, so nothing was uploaded; make it private on "
                "its page, choose another name, or do not ask for a private one."
            )
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            repo_type=kind,
            delete_patterns=list(replaced) or None,
            commit_message="Published with Labels4Free",
        )
    return f"{constants.ENDPOINT}/{'spaces/' if kind == 'space' else ''}{repository}"
