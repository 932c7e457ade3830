"""Bundles from the Hugging Face Hub, kept in its cache. huggingface_hub 0.25 to 2.4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from .config import CONFIG_NAME
from .files import storage_error
from .model_card import CARD_NAME

_WEIGHTS = ("generator.safetensors", "alpha.safetensors", "background.safetensors")
_HTTP_LIBRARIES = {"requests", "urllib3", "httpx", "httpx2", "httpcore", "huggingface_hub", "hf_xet"}


def download_bundle(repository: str, *, with_discriminator: bool = False, revision: str | None = None,
                    cache_dir: str | Path | None = None, force_download: bool = False,
                    local_files_only: bool = False, token: str | bool | None = None) -> Path:
    """The folder in the Hub's cache that holds the bundle of `repository`, downloaded where it is not there.

    Honours HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and HF_TOKEN, as huggingface_hub does. Nothing is checked
    here: `load_bundle` does. Raises `UserError` with what to do.
    """
    from huggingface_hub import snapshot_download

    wanted = [CONFIG_NAME, CARD_NAME, *_WEIGHTS]
    if with_discriminator:
        wanted.append("discriminator.safetensors")
    with hub_errors(repository):
        return Path(snapshot_download(repository, revision=revision, cache_dir=cache_dir, token=token,
                                      force_download=force_download, local_files_only=local_files_only,
                                      allow_patterns=wanted))


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turns what huggingface_hub and the libraries below it raise into one sentence that says what to do."""
    try:
        yield
    except Exception as error:  # which library raises what differs between releases
        sentence = _sentence(error, repository)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _sentence(error: Exception, repository: str) -> str | None:
    from huggingface_hub import constants, errors

    from .catalogue import models_folder

    by_hand = f"put its files at {models_folder() / repository.rpartition('/')[2].lower()}"
    log_in = "log in with: hf auth login"
    if isinstance(error, errors.GatedRepoError):
        return f"{repository} asks for consent; accept its terms on its page of the Hub, then {log_in}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"The Hub has no repository {repository} that you may read; check the name, or {log_in}."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no such revision on the Hub; check the revision."
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
        return f"{repository} is not on this computer and {reason}; go online, or {by_hand}."
    if isinstance(error, errors.EntryNotFoundError):
        return f"{repository} lacks a file that a bundle needs; choose another repository."
    if isinstance(error, errors.HFValidationError):
        return f"{repository!r} is no name of a Hub repository; give it as OWNER/NAME."
    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", "unknown")
        return f"The Hub refused {repository} (HTTP status {status}); try again later, or {by_hand}."
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return str(storage_error(error, Path(error.filename)))
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES:
        kind = type(error).__name__
        return f"{repository} could not be fetched ({kind}); check the connection, or {by_hand}."
    return None
