"""The stage of a panel: its results, looked at in several views, saved, downloaded and sent to other tabs."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from l4f_plugin.bundles.files import fitted
from l4f_plugin.errors import UserError
from l4f_plugin.images import has_more_frames, write_png

from . import compat, status
from .controls import button, element_id, named, segments, thumbnails
from .outputs import Result, shown_path, slug
from .run_buttons import Archive, complain
from .service import Service
from .texts import has, text

SHOWN_SIDE = 1600  # pixels of a picture that a page shows at once; larger ones are shown reduced
SMALL_SIDE, GRID = 240, 48  # pixels of a picture in a grid, and how many of them are shown at once
SQUARES = 48  # along the longer side of a picture whose transparency is shown


class Stage:
    """Builds the place of one result, hidden until there is one, where the table of texts has a note behind that.

    `views` are kinds of files to look at, or "compare" for the two kinds `compared` beside each other; `words` is the
    group of texts that names them. `downloads` are kinds too, or "shown" for what is looked at. `kept` are the kinds
    that Save copies into the output folder, `packs` those of all results that a ZIP holds. `buttons` are further ones
    beside those, by their names, with their looks. With `sends` results go to other tabs of a web UI.

    `results` holds the session's list of `Result`, `picked` the index of the one that is looked at. `outputs` are what
    `show` updates, `looks` what `look` does and `places` what `appear` does.
    """

    def __init__(
        self,
        service: Service,
        panel: str,
        status_line: gr.HTML,
        views: tuple[str, ...],
        *,
        words: str = "view",
        compared: tuple[str, str] = ("picture", "result"),
        downloads: tuple[str, ...] = ("shown",),
        kept: tuple[str, ...] = (),
        packs: tuple[str, ...] = (),
        buttons: Mapping[str, dict] | None = None,
        sends: bool = False,
    ):
        self._service, self._panel, self._status = service, panel, status_line
        self._compared, self._kept, self._packs = compared, kept, packs
        self.results = gr.State([])
        self.picked = gr.State(None)
        self._notes = [empty_stage(panel)] if has(f"{panel}.empty") else []
        with gr.Column(visible=False, elem_classes="l4f-results") as self.frame:
            if len(views) > 1:
                self.view = segments(f"{panel}.view", words, views, "l4f-view")
            else:
                self.view = gr.State(views[0])
            pictures = self._build_pictures("compare" in views)
            with gr.Row(elem_classes="l4f-actions"):
                self.buttons = {
                    name: button(f"{panel}.{name}", size="sm", **looks) for name, looks in (buttons or {}).items()
                }
                self.downloads = {}
                for kind in downloads:
                    key = f"{panel}." + ("download" if kind == "shown" else f"download_{kind}")
                    self.downloads[kind] = compat.download_button(text(key), size="sm", elem_id=element_id(key))
                self.archive = Archive(f"{panel}.download_all") if packs else None
                self.save = button(f"{panel}.save", size="sm") if kept else None
                button("stage.copy", size="sm", elem_id=f"l4f_{panel}_copy")  # which page.js answers
                self.sent = [self.results, self.picked, self.view]
                for name, connect in service.neighbours.items() if sends else ():
                    connect(button(f"host.to_{name}", size="sm", elem_id=f"l4f_{panel}_to_{name}"), self)
        self.looks = [*pictures, *self.downloads.values()]
        self.places = [*self._notes, self.frame]
        self.outputs = [*self.places, self.results, self.picked, *self.looks]
        self._wire([self.view, self.results, self.picked])

    def _wire(self, looked: list) -> None:
        if isinstance(self.view, gr.Radio):
            compat.on(self.view.input, self.look, looked, self.looks)
        if self.save:
            compat.on(self.save.click, self.keep, [self.results], [self._status])
        if self.archive:
            self.archive.on(self.pack, [self.results], self._status)

    def _build_pictures(self, comparing: bool) -> list:
        """The picture, and the two that are compared; returns what `look` updates."""
        panel, self.comparison = self._panel, None
        self.image = compat.shown_image(
            label=text(f"{panel}.result"),
            show_label=False,
            elem_id=f"l4f_{panel}_image",
            elem_classes=["l4f-checker", "l4f-single"],
        )
        if not comparing:
            return [self.image]
        self.comparison = compat.Comparison(
            label=text(f"{panel}.compare"),
            before=text(f"{panel}.before"),
            after=text(f"{panel}.after"),
            elem_id=f"l4f_{panel}_compare",
        )
        return [self.image, self.comparison.frame, *self.comparison.outputs]

    def appear(self, visible: bool = True) -> dict:
        """The update that brings the stage in place of its note, or leaves the place to another stage."""
        return {**{note: gr.update(visible=False) for note in self._notes}, self.frame: gr.update(visible=visible)}

    def show(self, results: Sequence[Result], view: str) -> dict:
        """The update that shows other results, from the first."""
        return {**self.appear(), self.results: list(results), self.picked: None, **self.look(view, results)}

    def look(self, view: str, results: Sequence[Result], picked: int | None = None) -> dict:
        """The update that shows the picked result in another view; its downloads follow."""
        result = self.chosen(results, picked)
        if result is None:
            return {}
        comparing = view == "compare"
        kind = self._compared[1] if comparing else view
        single = result.files[kind]
        viewable = single.suffix != ".webm"
        update = {
            self.image: gr.update(value=str(reduced(single)) if viewable else None, visible=viewable and not comparing),
            **self.offer(result, kind),
        }
        if self.comparison:
            before, after = (reduced(result.files[kind]) for kind in self._compared)
            pair = (_in_shape(before, after), _on_squares(after)) if comparing else (before, after)
            update |= {self.comparison.frame: gr.update(visible=comparing), **self.comparison.shown(*pair)}
        return update

    def offer(self, result: Result | None, view: str) -> dict:
        """The update that gives the downloads their files; those that a result has no file for are hidden."""
        if result is None:
            return {part: compat.download_update(None) for part in self.downloads.values()}
        files = {**result.files, "shown": result.shown(view)}
        return {
            part: {**compat.download_update(files.get(kind)), "visible": kind in files}
            for kind, part in self.downloads.items()
        }

    def chosen(self, results: Sequence[Result], picked: int | None) -> Result | None:
        """The result that is looked at, the first where none is picked; None where there is none."""
        return results[picked or 0] if 0 <= (picked or 0) < len(results) else None

    def files_to_send(self, results: Sequence[Result], picked: int | None, view: str) -> dict[str, Path]:
        """The PNG files of what is picked: `picture`, `mask`, `cutout` and `background` as far as they exist, and what
        the view shows as `shown`; of the first where none is picked, as in web UIs. Empty where there is nothing yet.
        `sent` are its inputs."""
        result = self.chosen(results, picked or 0)
        if result is None:
            return {}
        files = {**result.files, "picture": result.files.get("result", result.files["picture"])}
        return {**files, "shown": files.get(view, files["picture"])}

    def pack(self, results: Sequence[Result]) -> Path:
        """The ZIP of the results. Raises `UserError` where there are none."""
        if not results:
            raise UserError(text("stage.nothing_to_pack"))
        parts = [result.files[kind] for result in results for kind in self._packs if kind in result.files]
        files = {file.name: file for file in parts}
        return self._service.outputs.pack(f"{slug(results[0].class_name)}_{len(results)}", files)

    def keep(self, results: Sequence[Result]) -> dict:
        try:
            found = [result.files[kind] for result in results for kind in self._kept if kind in result.files]
            if not found:
                raise UserError(text("stage.nothing_to_save"))
            kept = [self._service.outputs.keep(file) for file in found]
        except Exception as error:
            return {self._status: complain(error)}
        words = text("stage.saved", count=len(kept), folder=shown_path(kept[0].parent))
        if len(kept) == 1:
            words = text("stage.saved_one", path=shown_path(kept[0]))
        return {self._status: status.finished(words)}


class GalleryStage(Stage):
    """Many results in a gallery, one of them large; `picked` holds its index, None where there are no results."""

    def _build_pictures(self, comparing: bool) -> list:
        panel = self._panel
        looks = {"columns": 4, "height": "auto", "show_label": False, "preview": True}
        self.gallery = compat.gallery(elem_classes=["l4f-checker", "l4f-gallery"], **looks, **named(f"{panel}.gallery"))
        self.about_picked = gr.Markdown(text(f"{panel}.pick"), elem_id=f"l4f_{panel}_picked")
        return [self.gallery]

    def show(self, results: Sequence[Result], view: str, picked: int | None = None) -> dict:
        """As in `Stage`. What is picked stays where it is still one, else the first is; that is shown large."""
        kept = self.chosen(results, picked) is not None
        picked = picked if kept else 0 if results else None
        shown = {**self.appear(), self.results: list(results), self.picked: picked, **self.look(view, results, picked)}
        return {**shown, self.gallery: compat.gallery_update(self._pictures(results, view), picked, keep=kept)}

    def look(self, view: str, results: Sequence[Result], picked: int | None = None) -> dict:
        offered = self.offer(self.chosen(results, picked), view)
        return {self.gallery: gr.update(value=self._pictures(results, view)), **offered}

    def _pictures(self, results: Sequence[Result], view: str) -> list[tuple[str, None]]:
        return [(str(result.shown(view)), None) for result in results]  # captions would lie on the pictures

    def chosen(self, results: Sequence[Result], picked: int | None) -> Result | None:
        return None if picked is None else super().chosen(results, picked)


class GridStage(Stage):
    """Many results, small in a grid and one of them large, with what is told about it.

    The button `use_better`, seen where another class fits it better, is for the panel to wire.
    """

    def _build_pictures(self, comparing: bool) -> list:
        panel, large = self._panel, super()._build_pictures(comparing)
        self.about = gr.Markdown("", elem_id=f"l4f_{panel}_about")
        self.use_better = button("stage.use_better", size="sm", visible=False, elem_id=f"l4f_{panel}_use_better")
        with gr.Row(visible=False) as self.steps:
            self.previous, self.next = (
                button(f"stage.{way}", size="sm", elem_id=f"l4f_{panel}_{way}") for way in ("previous", "next")
            )
        self.grid = thumbnails(f"{panel}.grid", "l4f-checker", show_label=False, visible=False)
        return [*large, self.about, self.use_better, self.steps, self.grid]

    def _wire(self, looked: list) -> None:
        super()._wire(looked)
        outputs = [self.picked, *self.looks]
        compat.on(self.previous.click, lambda *looked: self.step(-1, *looked), looked, outputs)
        compat.on(self.next.click, lambda *looked: self.step(1, *looked), looked, outputs)
        compat.on(self.grid.select, self.pick, looked, outputs)

    def step(self, by: int, view: str, results: Sequence[Result], picked: int | None) -> dict:
        """The update that shows the next result, or the one before; behind the last comes the first."""
        if not results:
            return {}
        index = ((picked or 0) + by) % len(results)
        return {self.picked: index, **self.look(view, results, index)}

    def pick(self, view: str, results: Sequence[Result], picked: int | None, event: gr.SelectData) -> dict:
        index = _first_of_grid(picked) + compat.selected(event)
        if index == picked:  # newer Gradios tell of a place that was set here as of a click
            return {}
        return {self.picked: index, **self.look(view, results, index)}

    def look(self, view: str, results: Sequence[Result], picked: int | None = None) -> dict:
        result = self.chosen(results, picked)
        if result is None:
            return {}
        first, many = _first_of_grid(picked), len(results) > 1
        seen = results[first : first + GRID]
        small = [(str(reduced(one.files["result"], SMALL_SIDE)), one.caption or one.name) for one in seen]
        told = {"name": escape(result.name), "number": (picked or 0) + 1, "count": len(results)}
        about = text("stage.about", **told) if many else ""
        return {
            **super().look(view, results, picked),
            self.grid: {**compat.gallery_update(small, (picked or 0) - first), "visible": many},
            self.about: " ".join(filter(None, (about, escape(result.told)))),
            self.steps: gr.update(visible=many),
            self.use_better: gr.update(visible=result.better is not None),
        }


def _first_of_grid(picked: int | None) -> int:
    return (picked or 0) // GRID * GRID


def empty_stage(panel: str) -> gr.HTML:
    """What stands where results will be: what is missing and what to do."""
    return gr.HTML(
        '<div class="l4f-empty"><div class="l4f-empty-picture" aria-hidden="true"></div>'
        f"<strong>{escape(text(f'{panel}.empty_title'))}</strong><p>{escape(text(f'{panel}.empty'))}</p></div>",
        elem_id=f"l4f_{panel}_empty",
        elem_classes="l4f-flush",
    )


def _in_shape(before: Path, after: Path) -> Path:
    """The first picture in the proportions of the second, with transparent bars, so that a slider shows both alike."""
    with Image.open(before) as picture, Image.open(after) as other:
        if abs(picture.width * other.height / (picture.height * other.width) - 1) < 0.01:
            return before
        padded = ImageOps.pad(picture.convert("RGBA"), other.size, Image.Resampling.LANCZOS)
    target = before.parent / fitted(after.stem, "-before.png")
    write_png(target, padded)
    return target


def _on_squares(file: Path) -> Path:
    """The picture with squares for its transparent parts: a slider would show the other picture through them."""
    with Image.open(file) as picture:
        if picture.mode != "RGBA" or has_more_frames(file):
            return file
        rows, columns = np.indices(picture.size[::-1]) * SQUARES // max(picture.size)
        squares = Image.fromarray(np.where((rows + columns) % 2, 236, 204).astype(np.uint8)).convert("RGBA")
        squares.alpha_composite(picture)
    target = file.parent / "shown" / fitted(file.stem, "-squares.png")
    write_png(target, squares.convert("RGB"))
    return target


def reduced(file: Path, side: int = SHOWN_SIDE) -> Path:
    """A PNG of a picture of ours in a folder beside it, at most `side` pixels wide or high.

    The file itself where it is not larger, or moves and is to be shown large.
    """
    if side == SHOWN_SIDE and has_more_frames(file):
        return file
    state = file.stat()
    target = file.parent / "shown" / fitted(file.stem, f"-{side}-{state.st_mtime_ns:x}-{state.st_size:x}.png")
    if not target.exists():
        with Image.open(file) as opened:
            if max(opened.size) <= side:
                return file
            picture = opened.convert("RGBA" if opened.mode == "P" else opened.mode)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        write_png(target, picture)
    return target
