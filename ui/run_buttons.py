"""Run and Cancel: what every panel with a longer computation shares."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from l4f_plugin.errors import Cancelled
from l4f_plugin.jobs import CancelToken, Job, Progress

from . import compat, status
from .controls import button, element_id
from .service import Service
from .texts import text
from .words import in_words, standing

SECONDS_BETWEEN_WORDS = 0.2

Work = Callable[..., Iterator[dict]]
"""A handler: takes a `Running` and the inputs as `{component: value}`, yields updates as `{component: update}`."""


class Running(Job):
    """A job of a page, which tells it its place in the queue.

    `waited_until` is the monotonic time at which it last heard of its place; 0 where it never waited.
    """

    def __init__(self, work: Work, inputs: Sequence, token: CancelToken, status_place: Any):
        super().__init__(work, *inputs, token=token)
        self.status = status_place
        self.waited_until = 0.0
        token.on_wait = self._tell_of_wait

    def _tell_of_wait(self, ahead: int) -> None:
        self.waited_until = time.monotonic()
        key = {0: "job.begins", 1: "job.waiting_one"}.get(ahead, "job.waiting_many")
        self.post({self.status: status.running(text(key, ahead=ahead))})

    def tell_of(self, task: Job, *, patient: bool = False) -> Iterator[dict]:
        """Tells where a task of its own stands until it has ended, see `Job.follow`; raises what that raised."""
        for progress in task.follow(self.token, patient=patient):
            yield {self.status: status.running(standing(progress, task.kind), progress.done, progress.total)}

    def now_and_then(self, words: Callable[[int, int], str]) -> Progress:
        """What a long work calls after each step: posts `words(done, total)`, a few times a second and at the end."""
        told = 0.0

        def progress(done: int, total: int, _: str) -> None:
            nonlocal told
            if time.monotonic() - told > SECONDS_BETWEEN_WORDS or done == total:
                told = time.monotonic()
                self.post({self.status: status.running(words(done, total), done, total)})

        return progress


def told_in(status_place: Any, service: Service, work: Work) -> Callable[..., Iterator[dict]]:
    """A handler that does `work` in a job without buttons of its own, and tells there why it failed."""

    def handler(*inputs: Any) -> Iterator[dict]:
        try:
            yield from Running(work, inputs, service.new_token(), status_place).start().updates()
        except Exception as error:
            yield {status_place: complain(error)}

    return handler


STILL_THERE_SECONDS = 3.0
"""How long a job is silent before it tells that it is there: some web UIs give up on one that was so for 5 seconds."""

REPEATED_SECONDS = 5.0  # how long after its beginning a job repeats what it has told: see `FirstUpdates`
REPEATED_SECONDS_OF_FIELDS = 1.0  # as short as it may be where a person writes meanwhile


def seen_by(watchers: Sequence[Any]) -> dict:
    return {part: update for watcher in watchers for part, update in watcher.refresh().items()}


class RunButtons:
    """A run button, a cancel button and a status line around one handler at a time.

    A session holds the `token` of its job: Cancel stops that one only. At its end the service's watchers look anew.
    """

    def __init__(self, service: Service, panel: str):
        self._service, self._watchers = service, service.watchers
        self.token = gr.State(None)
        with gr.Row(elem_classes="l4f-run-row"):
            self.run = button(f"{panel}.run", variant="primary", scale=3)
            stops = {"scale": 1, "min_width": 90, "interactive": False, "elem_id": f"l4f_{panel}_cancel"}
            self.cancel = button("job.cancel", **stops)
        self.status = gr.HTML(status.quiet(), elem_id=f"l4f_{panel}_status", elem_classes="l4f-status-place")
        compat.on(self.cancel.click, self.stop, [self.token], [self.cancel])

    def on(
        self, trigger: Callable, work: Work, inputs: set, outputs: Sequence, *, buttons: bool = True, **wiring: Any
    ) -> Any:
        """Wires `work` to an event, within `guarded`; with `buttons`, these follow it."""
        everything = [*outputs, self.token, self.run, self.cancel, self.status]
        everything += [part for watcher in self._watchers for part in watcher.outputs]
        event = compat.on(trigger, self.guarded(work, buttons=buttons), inputs, everything, queue=True, **wiring)
        if buttons:
            compat.on(event.then, self.enable, [], [self.run, self.cancel])
        return event

    def guarded(self, work: Work, *, buttons: bool = True) -> Callable[..., Iterator[dict]]:
        """`work` with a cancel token, failures put into words and, with `buttons`, only Cancel enabled."""

        def busy(token: CancelToken) -> dict:
            cancel = gr.update(interactive=not token.cancelled)
            return {self.run: gr.update(interactive=False), self.cancel: cancel} if buttons else {}

        def run(*inputs: Any) -> Iterator[dict]:
            token, said = self._service.new_token(), FirstUpdates()
            try:
                yield {self.token: token, **busy(token)}
                try:
                    job = Running(work, inputs, token, self.status).start()
                    for update in job.updates(STILL_THERE_SECONDS):
                        yield {**busy(token), **said.repeated(update or {})}
                except Cancelled:
                    yield said.repeated({self.status: status.finished(text("job.stopped"))})
                except Exception as error:  # the border to the person: nothing may end as a traceback on the page
                    yield said.repeated({self.status: complain(error)})
                yield {**said.repeated({}), self.token: None, **seen_by(self._watchers)}
            finally:
                token.cancel()  # where Gradio gives up in the middle, because the page was closed

        return run

    def enable(self) -> dict:
        """An answer of its own, since pages of Gradio 4 to 6 lose what is clicked before a job's answer has ended."""
        return {self.run: gr.update(interactive=True), self.cancel: gr.update(interactive=False)}

    def stop(self, token: CancelToken | None) -> dict:
        """Cancels the session's job, which then tells itself that it has stopped.

        Nothing is said here: this answer may reach the browser after the job's last word.
        """
        if token is not None:
            token.cancel()
        return {self.cancel: gr.update(interactive=False)}


class Archive:
    """A button that has files packed and then downloads them, within the row of buttons that is being built."""

    def __init__(self, key: str):
        self._id = f"{element_id(key)}_file"
        self.button = button(key, size="sm")
        self.file = compat.download_button(text(key), elem_id=self._id, elem_classes="l4f-hidden")

    def on(self, pack: Callable[..., Path], inputs: Sequence, status_place: Any) -> None:
        """Wires the button to `pack`, whose failures are told in the status line."""

        def packed(*given: Any) -> dict:
            try:
                return {self.file: compat.download_update(pack(*given))}
            except Exception as error:
                return {status_place: complain(error)}

        done = compat.on(self.button.click, packed, inputs, [self.file, status_place], queue=True)
        compat.on(done.then, None, js=_CLICK_WHEN_READY.replace("#ID", f"#{self._id}"))


class FirstUpdates:
    """The updates of a job's first seconds, each of which repeats those before it.

    A page of Gradio 4 to 6 takes what comes before the answer to its click in one go, and draws the last of it alone.
    On a busy computer, or over a slow line, that answer takes seconds.
    """

    def __init__(self) -> None:
        self._began, self._told = time.monotonic(), {}

    def repeated(self, update: dict) -> dict:
        """The update, and what it does not replace of those before it. Alone in Gradio 3, which sends values whole."""
        if not compat.SENDS_DIFFERENCES:
            return update
        since = time.monotonic() - self._began
        merged = {part: told for part, told in self._told.items() if since < _repeated_seconds(part)}
        for part, value in update.items():
            before = merged.get(part) if _is_update(merged.get(part)) else {}
            merged[part] = {**before, **value} if _is_update(value) else value
        self._told = merged
        # In a new dictionary each time: Gradio takes apart those that it is given.
        return {part: {**told} if _is_update(told) else told for part, told in merged.items()}


def _repeated_seconds(part: Any) -> float:
    return REPEATED_SECONDS_OF_FIELDS if isinstance(part, gr.components.FormComponent) else REPEATED_SECONDS


def _is_update(value: Any) -> bool:
    return isinstance(value, dict) and "__type__" in value


def complain(error: Exception) -> str:
    """Shows a failure as a notice and returns the status line that stays when the notice has gone."""
    words = in_words(error)
    gr.Warning(words)
    return status.problem(words)


_CLICK_WHEN_READY = """() => {
    const started = Date.now();
    const look = () => {
        const link = document.querySelector("#ID a[href], a#ID[href]");
        const ready = "button#ID:not([disabled]), #ID button";
        const target = link || document.querySelector(ready);
        if (target && Date.now() - started > 150) target.click();
        else if (Date.now() - started < 5000) setTimeout(look, 50);
    };
    look();
}"""
"""Presses the download link of that id as soon as it holds a file."""
