"""Data sets of the Hub that are pictures in folders, or one archive of them, in huggingface_hub's own cache."""

from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_download

from ..bundles.files import megabytes
from ..errors import UserError
from ..jobs import NEVER, CancelToken, Progress, unseen
from .repository import Source, asking, demand_space

MOST_FILES, MOST_BYTES = 100_000, 20 << 30
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


def fetch_pictures(repository: str, progress: Progress = unseen, cancel: CancelToken = NEVER) -> Path:
    """The folder with the pictures of a data set OWNER/NAME, or its one archive; what is in the cache stays there.

    Raises ``Cancelled``, and ``UserError`` for what holds neither, is too large, or cannot be reached.
    """
    source = Source(repository, by_hand="fetch it yourself, and name its folder")
    with asking(source, f"the data set {repository}"):
        api, left = HfApi(endpoint=constants.ENDPOINT), MOST_BYTES
        commit = api.dataset_info(repository).sha
        found: dict[str, int] = {}
        for entry in api.list_repo_tree(repository, repo_type="dataset", revision=commit, recursive=True):
            cancel.check()
            path = PurePosixPath(entry.path)
            if path.is_absolute() or ".." in path.parts or not entry.path.lower().endswith(PICTURES + ARCHIVES):
                continue
            found[entry.path] = getattr(entry, "size", 0)
            left -= found[entry.path]
            if len(found) > MOST_FILES or left < 0:
                raise UserError(
                    f"{repository} holds more than {MOST_FILES:,} pictures or {megabytes(MOST_BYTES)}; fetch a part of "
                    "it yourself, and name its folder."
                )
        pictures = [path for path in found if path.lower().endswith(PICTURES)]
        wanted = pictures or list(found)
        if not pictures and len(wanted) != 1:
            raise UserError(
                f"{repository} holds no folders of pictures and no single archive (Parquet files are not read); fetch "
                "it yourself, save its pictures as files, and name their folder."
            )
        demand_space({source.cache(): sum(found[path] for path in wanted)}, repository)
        for done, path in enumerate(wanted):
            cancel.check()
            progress(done, len(wanted), f"Fetching {repository}")
            here = hf_hub_download(
                repository,
                path,
                repo_type="dataset",
                revision=commit,
                cache_dir=source.cache().parent,
                library_name="labels4free",
            )
    return Path(here).parents[len(PurePosixPath(wanted[-1]).parts) - 1] if pictures else Path(here)
