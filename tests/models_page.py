"""The panel Models with one page and one visitor, without a browser: handlers called as Gradio calls them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bundles import OF_MASKS, saved
from pages import closed, owned, plain, run

from l4f_ui import compat
from l4f_ui.models_forms import Visit
from l4f_ui.models_panel import ModelsPanel


class Page:
    """The panel of one page and one visitor."""

    def __init__(self, tmp_path: Path, **rights: bool):
        self.service = owned(tmp_path, **rights)
        self.class_jobs, self.visit = self.service.class_jobs, Visit()
        with compat.blocks("page", "") as self.blocks:
            self.panel = ModelsPanel(self.service)

    @classmethod
    def open(cls, tmp_path: Path, measures: bool = False) -> Iterator[Page]:
        """For a fixture; to measure costs a second for each class that is looked at."""
        made = cls(tmp_path)
        if not measures:
            made.class_jobs.wants_estimate = lambda entry: False
        yield made
        closed(made.service)

    def pick(self, name: str) -> dict:
        return self.panel.pick(self.visit, name)

    def press(self, button: str, *values: object) -> dict:
        """Presses a button of the panel and waits for what it started."""
        handler = getattr(self.panel, f"start_{button}")
        return self.wait(self.panel.answered(handler)(self.visit, *values))

    def wait(self, seen: dict | None = None) -> dict:
        """All that the watcher shows until nothing runs any more, on top of `seen`."""
        self.history: list[dict] = []
        seen = dict(seen or {})
        for update in self.panel.watch(self.visit):
            self.history.append(update)
            seen |= update
        return seen

    def told(self, seen: dict) -> str:
        return plain(seen[self.panel.activity])

    def running(self) -> list[str]:
        """What the page said while something ran."""
        return [plain(update[self.panel.activity]) for update in self.history if self.panel.activity in update]

    def form(self, form, handler, **values: object) -> tuple[dict, str]:
        """Runs a form's button with the controls of those names; the updates as one, and its status."""
        changed = {getattr(form, name): value for name, value in values.items()}
        seen = run(form, handler, {self.panel.visit: self.visit, **changed})
        return seen, plain(seen[form.job.status])

    def shown(self, seen: dict, name: str) -> bool:
        return seen[getattr(self.panel, name)]["visible"]


def maskless(tmp_path: Path, **described) -> Path:
    return saved(tmp_path / "models/plain", without=OF_MASKS, **{"title": "Plain", **described})


def row(page: Page, name: str) -> dict[str, str]:
    """A row of the table by its columns."""
    table = page.panel.show(page.visit)[page.panel.table]
    [found] = re.findall(rf'<tr data-name="{re.escape(name)}".*?</tr>', table)
    return {column: plain(cell) for column, cell in re.findall(r'<td data-column="([^"]*)">(.*?)</td>', found)}


def offered(update: dict) -> dict[str, str]:
    """What an update of a dropdown offers: words by value (before Gradio 4 the words are the value)."""
    pairs = [(choice, choice) if isinstance(choice, str) else choice for choice in update["choices"]]
    return {value: words for words, value in pairs}
