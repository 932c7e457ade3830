"""The door to labelled sets: started, gone on with, measured beforehand. No Gradio; torch only within the work.

A set is a `Job` of its class: it goes on when the page is closed. Its place in the output folder follows from what was
asked for, so that asking for the same again goes on with it.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from l4f_plugin.datasets.export_plan import FORMATS, ExportSettings, read_plan
from l4f_plugin.datasets.exporting import estimate, export, make_plan
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import CancelToken, Job
from l4f_plugin.picture_files import STATE_FOLDER

from .outputs import shown_path, slug
from .service import Service
from .texts import text
from .words import duration, size

KIND = "export"
SHARD = 100  # pictures drawn in one turn: others wait for no more than these
MOST_PICTURES = 1_000_000
MOST_FOLDERS = 1000
_CARD, _SHEET, _CHECKSUMS = "README.md", "sheet.png", "SHA256SUMS"
_LARGEST_ZIP = 2 << 30  # bytes
_LONGEST_CARD = 1 << 16


class Exports:
    """The labelled sets of a page. Sets lie in folders of their own below the output folder."""

    def __init__(self, service: Service):
        self._service, self.jobs = service, service.class_jobs.jobs
        self._started: Path | None = None
        self._sheet: tuple[bytes, Path | None] = b"", None

    def unfinished(self) -> list[str]:
        return [path.name for path in self._folders() if not _is_whole(path)]

    def go_on(self, folder_name: str) -> Job:
        """Goes on with one of the `unfinished`. Raises `UserError` for what is none of them."""
        plan = read_plan(self._place() / folder_name) if folder_name in self.unfinished() else None
        if plan is None:
            raise UserError(text("export.no_such_set"))
        return self.start(plan.source.name, plan.settings, self._place() / folder_name)

    def start(self, name: str, settings: ExportSettings, folder: Path | None = None) -> Job:
        """Exports, or goes on with it. Raises `UserError` where something else is being done with the class."""
        title = self._service.entry(name, on_offer=True).title
        if folder is None:  # another choice, another folder
            pixels = f"{settings.size}px-" if settings.size else ""
            digest = hashlib.sha256(f"{name} {settings!r}".encode()).hexdigest()[:8]
            folder = self._place() / f"{slug(name)}-{settings.format}-{settings.count}-{pixels}{digest}"
        self._started = folder
        message = text("export.working", title=title, count=settings.count)

        def work(task: Job) -> str:
            with self._service.drawing(name, task.token) as pipeline:
                plan = make_plan(pipeline, settings)
            export(
                plan,
                folder,
                lambda: self._service.drawing(name, task.token),
                cancel=task.token,
                progress=lambda done, total, _: task.report(done, total, message),
            )
            return text("export.done", count=settings.count, folder=shown_path(folder))

        return self.jobs.start(KIND, name, message, work, title)

    def estimate(self, name: str, settings: ExportSettings, token: CancelToken) -> str:
        with self._service.drawing(name, token) as pipeline:
            plan = make_plan(pipeline, settings)
        seconds, taken = estimate(plan, lambda: self._service.drawing(name, token))
        return text("export.estimated", time=duration(seconds), size=size(taken))

    def latest(self) -> Path | None:
        """The set that was begun here last, else the one that was completed last; None without any."""
        if self._started is None:
            whole = [path for path in self._folders() if _is_whole(path)]
            self._started = max(whole, key=lambda path: (path / _CHECKSUMS).stat().st_mtime, default=None)
        return self._started

    def card(self) -> str | None:
        """The card of the latest set, without its picture and the lines that are for the Hub; None before its end."""
        if (folder := self.latest()) is None or not _is_whole(folder):
            return None
        with suppress(ValueError, OSError), open(folder / _CARD, encoding="utf-8") as file:
            card = file.read(_LONGEST_CARD).split("---\n", 2)[-1]
            card = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", card).strip()
            return re.sub("^#", "###", card, flags=re.MULTILINE)  # headings below those of the page
        return None

    def sheet(self) -> Path | None:
        """A copy of the first pictures of the latest set, which the page may show; None before there are any."""
        folder = self.latest()
        with suppress(OSError):
            content = (folder / _SHEET).read_bytes() if folder else b""
            if content != self._sheet[0]:
                target = self._service.outputs.preview_folder() / _SHEET
                target.write_bytes(content)
                self._sheet = content, target
            return self._sheet[1]
        return None

    def pack(self) -> Path:
        """A ZIP of the latest set. Raises `UserError` where it is not whole, or too large for a browser."""
        folder = self.latest()
        if folder is None or not _is_whole(folder):
            raise UserError(text("export.nothing_to_pack"))
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        files = [path for path in files if STATE_FOLDER not in path.relative_to(folder).parts]  # of the work on it
        total = sum(path.stat().st_size for path in files)
        if total > _LARGEST_ZIP:
            words = {"size": size(total), "limit": size(_LARGEST_ZIP), "folder": shown_path(folder)}
            raise UserError(text("export.too_large_to_pack", **words))
        return self._service.outputs.pack(folder.name, {str(path.relative_to(folder.parent)): path for path in files})

    def _place(self) -> Path:
        return self._service.outputs.folder / "sets"

    def _folders(self) -> list[Path]:
        """Folders that hold a set, made by this page or not."""
        found = sorted(path for path in self._place().glob("*") if path.is_dir() and not path.is_symlink())
        return [path for path in found[:MOST_FOLDERS] if any(f"-{name}-" in path.name for name in FORMATS)]


def _is_whole(folder: Path) -> bool:
    return (folder / _CHECKSUMS).is_file()
