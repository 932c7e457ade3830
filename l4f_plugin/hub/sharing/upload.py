"""Uploads a folder to the Hub, as a model repository or a Space; huggingface_hub 0.25 to 2.4."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...bundles.fields import REPOSITORY_ID
from ...errors import UserError, printable
from ..hub_errors import hub_errors, why_offline
from ..repository import honour_certificates

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


def logged_in_as() -> str | None:
    """What the Hub calls whoever is logged in on this computer; None where nobody is or it cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi().whoami()["name"]
    except Exception:  # without a login, without the network, or with a token that is no longer good
        return None


def upload(folder: Path, target: Target, *, replaced: Sequence[str] = ()) -> str:
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
    with hub_errors(target.repository, _BY_HAND, writing=True):
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
            commit_message="Published with Labels4Free",
        )
    return f"{constants.ENDPOINT}/{'spaces/' if target.kind == 'space' else ''}{repository}"
