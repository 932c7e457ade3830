"""The folder of uploads: how much strangers may lay there in sum, and when old files go."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LIFETIME = 86_400.0  # seconds after which an upload goes
SPARED = 900.0  # seconds for which an upload stays even where it takes the room of others
_LOOK_AGAIN = 600.0


class NoRoom(Exception):
    """The uploads of all take as much as they may."""


class Uploads:
    """Uploads in `folder`, of `most_bytes` together; None leaves them unbounded. For any thread."""

    def __init__(self, folder: Path, most_bytes: int | None = None):
        self._folder, self._most = folder, most_bytes
        self._lock = threading.Lock()
        self._coming = 0
        self._looked = -_LOOK_AGAIN

    @property
    def are_due(self) -> bool:
        """Whether nobody has looked for old ones lately."""
        return time.monotonic() - self._looked > _LOOK_AGAIN

    def make_room(self, size: int = 0) -> None:
        """Removes what is old, and makes room for an upload, which `has_come` ends unless it raises `NoRoom`.

        Old files go; then the oldest that are not spared, until there is room.
        """
        with self._lock:
            self._looked, now = time.monotonic(), time.time()
            files = sorted(self._files())
            kept = sum(length for _, length, _ in files)
            for changed, length, path in files:
                too_much = self._most is not None and kept + self._coming + size > self._most
                if now - changed < (SPARED if too_much else LIFETIME):
                    break
                with suppress(OSError):
                    path.unlink()
                    kept -= length
            if self._most is not None and size and kept + self._coming + size > self._most:
                raise NoRoom
            self._coming += size

    def has_come(self, size: int) -> None:
        """The upload for which `make_room` has made room is there, or was given up."""
        with self._lock:
            self._coming -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Time of the last change, length and path of each file."""
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):
                    found = path.lstat()
                    yield found.st_mtime, found.st_size, path
