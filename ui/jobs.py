"""Run and Cancel: what every panel with a longer computation shares."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from l4f_plugin.errors import Cancelled

from . import compat, status
from .controls import button
from .problems import in_words
from .texts import text
from .workspace import Workspace

Work = Callable[..., Iterator[dict]]
"""A handler: takes a cancel token and the values of the inputs, yields updates as `{component: update}`."""


class Job:
    """A run button, a cancel button and a status line around one handler at a time.

    A running job is known to its session by an identifier, so that Cancel stops the session's own job only.
    """

    def __init__(self, workspace: Workspace, panel: str):
        self._workspace = workspace
        self.identifier = gr.State(None)
        with gr.Row(elem_classes="l4f-run-row"):
            self.run = button(f"{panel}.run", variant="primary", scale=3)
            self.cancel = button(f"{panel}.cancel", scale=1, min_width=90, interactive=False)
        self.status = gr.HTML(status.quiet(), elem_id=f"l4f_{panel}_status", elem_classes="l4f-status-place")
        compat.on(self.cancel.click, self.stop, [self.identifier], [self.cancel], queue=False)

    def on(
        self,
        trigger: Callable,
        work: Work,
        inputs: Sequence,
        outputs: Sequence,
        *,
        buttons: bool = True,
        **wiring: Any,
    ) -> Any:
        """Wires `work` to an event, within `guarded`."""
        everything = [*outputs, self.identifier, self.run, self.cancel, self.status]
        return compat.on(trigger, self.guarded(work, buttons=buttons), inputs, everything, **wiring)

    def guarded(self, work: Work, *, buttons: bool = True) -> Callable[..., Iterator[dict]]:
        """`work` with a cancel token, failures put into words and, with `buttons`, buttons that follow it."""

        def busy(yes: bool) -> dict:
            return (
                {self.run: gr.update(interactive=not yes), self.cancel: gr.update(interactive=yes)}
                if buttons
                else {}
            )

        def run(*inputs: Any) -> Iterator[dict]:
            identifier = uuid.uuid4().hex
            token = self._workspace.start_job(identifier)
            try:
                yield {self.identifier: identifier, **busy(True)}
                try:
                    yield from work(token, *inputs)
                except Cancelled:
                    yield {self.status: status.finished(text("job.stopped"))}
                except (
                    Exception
                ) as error:  # the border to the person: nothing may end as a traceback on the page
                    yield {self.status: complain(error)}
                yield {self.identifier: None, **busy(False)}
            finally:
                self._workspace.end_job(identifier)

        return run

    def stop(self, identifier: str | None) -> dict:
        """Cancels the session's job, which then tells itself that it has stopped.

        Nothing is said here: this answer may reach the browser after the job's last word.
        """
        self._workspace.stop_job(identifier)
        return {self.cancel: gr.update(interactive=False)}


def complain(error: Exception) -> str:
    """Shows a failure as a notice and returns the status line that stays when the notice has gone."""
    words = in_words(error)
    gr.Warning(words)
    return status.problem(words)
