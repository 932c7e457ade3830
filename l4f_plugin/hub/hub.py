"""`from_pretrained`, `save_pretrained` and `push_to_hub` after huggingface_hub's conventions."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from huggingface_hub import ModelHubMixin

from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..errors import UserError
from .download import resolve
from .hub_errors import hub_errors

_Model = TypeVar("_Model", bound="HubMixin")


class HubMixin(ModelHubMixin, library_name="labels4free", tags=["labels4free", "stylegan2"]):
    """Gives a class that takes a `Bundle` as its first argument, and keeps it as `bundle`, the Hub's three methods.

    huggingface_hub's own `from_pretrained` would look for `config.json` on the Hub and hand its entries to
    `__init__`, and its `save_pretrained` deletes the old config before the new bundle is complete; both are
    replaced here. `push_to_hub` is its own. Works with huggingface_hub 0.25 to 2.4.
    """

    bundle: Bundle

    @classmethod
    def from_pretrained(
        cls: type[_Model],
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **options: Any,
    ) -> _Model:
        """Builds the class from a class name, a folder or a Hub repository; `options` go to `__init__`.

        Raises `UserError` with one sentence when the bundle cannot be found, fetched or trusted.
        """
        folder = resolve(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return cls(load_bundle(folder), **options)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_options: Any,
    ) -> str | None:
        """Writes the bundle in one step, then uploads it where `push_to_hub` asks for that.

        The discriminator is not part of it unless `bundle` carries one. `config` and `model_card_kwargs` are part of
        the convention; a bundle brings its own of both. Returns the address of the commit, or None. Raises `UserError`.
        """
        folder = Path(save_directory)
        save_bundle(self.bundle, folder)
        return self.push_to_hub(repo_id or folder.name, **push_to_hub_options) if push_to_hub else None

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Uploads the bundle, `options` as the Hub's own; returns the address of the commit.

        Raises `UserError`, also where something is to be declared first, or to go along: `l4f publish` asks for it.
        """
        from .sharing.terms import Declared, terms_of  # Spaces come without it

        config = self.bundle.config
        with TemporaryDirectory() as empty:
            terms = terms_of(config, self.bundle.folder or Path(empty), Declared())
        if terms.files:
            names = " and ".join(terms.files)
            raise UserError(f"{names} must go along with {config.name}; use: l4f publish {config.name} {repo_id}.")
        with hub_errors(repo_id):
            return super().push_to_hub(repo_id, **options)
