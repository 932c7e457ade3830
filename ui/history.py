"""What was drawn here earlier: read back from the folders of results, the newest first, with what the person marked."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from l4f_plugin.arguments import Style
from l4f_plugin.bundles.config import ObjectClass
from l4f_plugin.bundles.files import write_atomically
from l4f_plugin.errors import UserError
from l4f_plugin.images import load_layers
from l4f_plugin.provenance import recipe_of
from l4f_plugin.subject import ENDINGS, Subject

from .outputs import Result, slug
from .service import Service

MOST = 200  # pictures of the past that are shown
FAVOURITE, HIDDEN = "favourite", "hidden"
_MARKS = ".labels4free-marks.json"
_KINDS = ("picture", "mask", "cutout", "background", "w_plus")
_DAYS = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


class History:
    """The pictures below the output folder, as `Result`s. Marks lie in a file beside the folders of the days."""

    def __init__(self, service: Service):
        self._service, self._outputs = service, service.outputs

    def recent(self, favourites: bool = False) -> list[Result]:
        """The newest that are not hidden, or of these the favourites."""
        marks, found = self._marks(), []
        titles = {entry.name: entry.title for entry in self._service.classes()}
        for path in self._pictures():
            mark = marks.get(_name(path))
            if mark == HIDDEN or (favourites and mark != FAVOURITE):
                continue
            with suppress(UserError):
                recipe = recipe_of(path)
                if recipe is not None and recipe.background is None:
                    files = {kind: path.with_name(path.stem + ENDINGS[kind]) for kind in _KINDS}
                    files = {kind: file for kind, file in files.items() if file.is_file()}
                    if recipe.seed is not None or "w_plus" in files:
                        name, psi = recipe.class_name, recipe.style.truncation_psi
                        found.append(Result(files, titles.get(name, name), name, recipe.seed, psi))
            if len(found) == MOST:
                break
        return found

    def ready(self, entry: ObjectClass | None) -> list[Result]:
        """The pictures that a class brings along, as if it had just drawn them."""
        return [
            self.unsaved(entry, Subject(*load_layers(file), entry.name, seed, Style(psi)))
            for file, seed, psi in (entry.ready if entry else ())
        ]

    def unsaved(self, entry: ObjectClass, subject: Subject) -> Result:
        """A subject of a class as if it had been drawn for the person, in the folder of previews."""
        files = self._outputs.preview(f"{slug(entry.name)}_{subject.stem}", subject.parts(), subject.infotext())
        return Result(files, entry.title, entry.name, subject.seed, subject.style.truncation_psi)

    def mark(self, sample: Result, mark: str) -> bool:
        """Marks a picture, or takes the same mark away; whether it is marked now."""
        marks, name = self._marks(), _name(sample.files["picture"])
        marked = marks.pop(name, None) != mark
        if marked:
            marks[name] = mark
        write_atomically(self._outputs.folder / _MARKS, json.dumps(marks))
        return marked

    def has(self, sample: Result) -> bool:
        """Whether a picture is one of the folder's, and not one that is only shown."""
        return self._outputs.folder in sample.files["picture"].resolve().parents

    def delete(self, sample: Result) -> None:
        """Deletes the files of a picture. Raises `UserError` for one that is none of the folder's."""
        if not self.has(sample):
            raise UserError(f"{sample.files['picture'].name} is not among the results, and was left alone.")
        for file in sample.files.values():
            with suppress(FileNotFoundError):
                file.unlink()

    def _pictures(self) -> Iterator[Path]:
        """Pictures, not their masks and cut-outs, of the newest day first. Their folders may be served from now on."""
        for day in sorted(self._outputs.folder.glob(_DAYS), reverse=True):
            files = [path for path in day.glob("*.png") if not _PART.search(path.stem)]
            if files and str(day) not in self._outputs.served_folders:
                self._outputs.served_folders.append(str(day))
            yield from sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)

    def _marks(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            marks = json.loads((self._outputs.folder / _MARKS).read_text("utf-8"))
            return marks if isinstance(marks, dict) else {}
        return {}


_PART = re.compile(rf"_({'|'.join(('alpha', *ENDINGS))})(_\d+)?$")  # with the number of one that was kept


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
