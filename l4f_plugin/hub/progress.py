"""Progress of downloads in a terminal, and sizes in words."""

from __future__ import annotations

import shutil
import sys

from tqdm import tqdm


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


class TerminalProgress:
    """A `Progress` of bytes: a bar on a terminal's stderr, elsewhere one line a step. For use in a `with`."""

    def __init__(self) -> None:
        self._step: tuple[str, int] | None = None
        self._bar: tqdm | None = None

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(self, done: int, total: int, message: str) -> None:
        if (message, total) != self._step:
            self.__exit__()
            self._step = (message, total)
            if total and sys.stderr.isatty():
                size = shutil.get_terminal_size()  # some terminals say 0 x 0, in which tqdm would show nothing
                shape = {"ncols": size.columns, "nrows": size.lines, "unit": "B", "unit_scale": True}
                # Speed and time left count what arrives now, not what was there before.
                self._bar = tqdm(total=total, initial=done, desc=message, file=sys.stderr, **shape)
            else:
                size = f" ({total / 1e6:,.1f} MB)" if total else ""
                print(f"{message}{size}", file=sys.stderr, flush=True)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
