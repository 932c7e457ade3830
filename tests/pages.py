"""The page without a browser: what tests of its handlers share. The fixture `page` is in conftest.py."""

import html
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings


def asked(panel, changed: dict | None = None) -> dict:
    """What a handler of the panel gets: its controls as they are built, but for those that are `changed`."""
    return {part: getattr(part, "value", None) for part in panel.inputs} | (changed or {})


def begin(panel, handler, changed: dict | None = None):
    """The updates of a job, one by one."""
    return panel.job.guarded(handler)(asked(panel, changed))


def run(panel, handler, changed: dict | None = None) -> dict:
    """All updates of a job as one, as the browser would see them in the end."""
    return merged(begin(panel, handler, changed))


def merged(updates) -> dict:
    return {part: value for update in updates for part, value in update.items()}


def drawing(panel, seeds: str, count: int = 1, view: str = "picture", name: str | None = "tiny") -> dict:
    """What is changed in the panel Generate."""
    return {panel.choice.dropdown: name, panel.seeds: seeds, panel.count: count, panel.stage.view: view}


def generate(page, seeds: str = "3-6", **how) -> dict:
    return run(page.generate, page.generate.generate, drawing(page.generate, seeds, **how))


def swapping(panel, kind: str, *, picture=None, colour="#336699", seed="3", behind="5", edge=(), view="result") -> dict:
    """What is changed in the panel Swap background."""
    background = panel.background
    changed = {panel.choice.dropdown: "tiny", panel.seed: seed, panel.stage.view: view, background.kind: kind}
    changed |= {background.seed: behind, background.picture: picture, background.colour: colour, background.blur: 4}
    return changed | dict(zip(panel.edge.inputs, edge, strict=False))


def swap(page, kind: str, **how) -> dict:
    return run(page.swap, page.swap.swap, swapping(page.swap, kind, **how))


def swapped(page, kind: str, **how) -> dict:
    """The files of the result."""
    return swap(page, kind, **how)[page.swap.stage.results][0].files


def taken(panel, given: dict) -> dict:
    """`given`, with the subject that is looked at in the brush's editor."""
    form = panel.brush
    seen = run(SimpleNamespace(job=panel.job, inputs=form.inputs), form.show, given)
    return {**given, form.taken: seen[form.taken], form.editor: seen[form.editor]["value"]}


def paint(panel, given: dict, **strokes) -> dict:
    """What comes of painting: `green` and `red` are places of the editor's picture."""
    form = panel.brush
    painted = np.zeros((*given[form.editor]["background"].shape[:2], 4), np.uint8)
    for colour, where in strokes.items():
        painted[where] = {"green": (0, 200, 0, 255), "red": (200, 0, 0, 255)}[colour]
    given = {**given, form.editor: {**given[form.editor], "layers": [painted]}}
    return run(SimpleNamespace(job=panel.job, inputs=form.inputs), form.mend, given)


def owned(tmp_path: Path, **options) -> Service:
    """The service of a page that only its owner reaches; to be `closed`."""
    return Service(lambda: Settings(device="cpu"), Outputs(tmp_path / "out"), **{"manages_classes": True, **options})


def closed(service: Service) -> None:
    service.class_jobs.close()
    service.outputs.forget_previews()


def plain(markup: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", markup))


def status_of(panel, seen: dict) -> str:
    return plain(seen[panel.job.status])


def listeners(blocks, component, event: str) -> list:
    """What answers an event of a component: each has `fn` and `inputs`. Before Gradio 4 the two lie in two lists."""
    if isinstance(blocks.fns, dict):
        return [function for function in blocks.fns.values() if (component._id, event) in map(tuple, function.targets)]
    return [
        SimpleNamespace(fn=function.fn, inputs=[blocks.blocks[number] for number in told["inputs"]])
        for function, told in zip(blocks.fns, blocks.dependencies, strict=True)
        if component._id in told["targets"] and told["trigger"] == event
    ]


def in_thread(work, *arguments) -> threading.Thread:
    """The work, begun in a thread of its own."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def wait_until(condition) -> None:
    for _ in range(12_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("did not happen")
