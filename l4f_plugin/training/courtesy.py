"""A training makes way for another program of this computer that wants the device: a web UI that draws.

That program notes now and then that it works, in a file beside the trainings. A note that is not renewed is soon worth
nothing, so a program that ended keeps nobody waiting.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import torch

from ..bundles.files import write_text
from ..bundles.folders import trainings_folder
from ..errors import Cancelled
from ..jobs import CancelToken

Turn = Callable[[], AbstractContextManager]
"""Entered around each step where others want the device too, who then have it in between. May raise ``Cancelled``."""

NOTE = ".device-in-use"
RUNNING, WAITING, AWAY = "running", "waiting", "away"
"""How a training stands that makes way: for a program that works, or for one that needs the memory."""
WORKS, NEEDS_MEMORY = "works", "needs memory"
LASTS = 3.0
"""Seconds that a note counts."""
LEAST_FREE = 0.08
"""Of a GPU's memory: with less, a program that works beside a training is about to run out."""
_LOOK_AGAIN = 0.1
_WORTH_TELLING = 1.0  # seconds of waiting


def note_use(what: str) -> None:
    """Notes that this program `WORKS` on the device or `NEEDS_MEMORY` of it."""
    with suppress(OSError):
        trainings_folder().mkdir(parents=True, exist_ok=True)
        write_text(trainings_folder() / NOTE, what)


def use_of_others() -> str:
    """What another program wants of the device; empty for nothing."""
    note = Path(trainings_folder() / NOTE)
    with suppress(OSError):
        if time.time() - note.stat().st_mtime < LASTS:
            return note.read_text(encoding="utf-8")
    return ""


class Courtesy:
    """Lets a training wait between its steps; ``tell`` is called with how it stands.

    Where the other program needs memory, the training ends by ``Cancelled``, and ``gave_way`` says that this was why.
    """

    def __init__(self, device: torch.device, cancel: CancelToken, tell: Callable[[str], None]):
        self._device, self._cancel, self._tell = device, cancel, tell
        self.gave_way = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits; the body of the ``with`` is a step."""
        since, told = time.monotonic(), False
        while wanted := use_of_others():
            self._cancel.check()
            if wanted == NEEDS_MEMORY or self._memory_is_short():
                self.gave_way = True
                raise Cancelled
            if not told and time.monotonic() - since > _WORTH_TELLING:
                told = True
                self._tell(WAITING)
            time.sleep(_LOOK_AGAIN)
        if told:
            self._tell(RUNNING)
        yield

    def wait(self) -> None:
        """After the training gave its memory back: until nobody else wants the device, or something is wished."""
        self._tell(AWAY)
        while use_of_others() and not self._cancel.cancelled:
            time.sleep(_LOOK_AGAIN)
        self.gave_way = False

    def _memory_is_short(self) -> bool:
        if self._device.type != "cuda":
            return False
        free, total = torch.cuda.mem_get_info(self._device)
        return free < LEAST_FREE * total
