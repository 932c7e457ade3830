"""One process at a time: a lock file that the system opens again when its holder ends, however it ends."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..jobs import NEVER, CancelToken
from .files import writing

LOOK_AGAIN_SECONDS = 0.1
# What file systems answer that know no locks: then the atomic renames have to do.
_NO_LOCKS = {getattr(errno, name) for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP") if hasattr(errno, name)}
_TAKEN = {errno.EACCES, errno.EAGAIN, getattr(errno, "EDEADLK", errno.EAGAIN)}


@contextmanager
def lock(
    path: Path, *, cancel: CancelToken = NEVER, on_wait: Callable[[], None] | None = None, refusal: str | None = None
) -> Iterator[None]:
    """Holds the lock `path` during the `with`; waits for whoever holds it, or raises `refusal` as `UserError`.

    The file stays: removing it would let two holders in. A killed process leaves no lock behind. Threads of
    one process exclude each other too. `on_wait()` is called once if there is waiting. Raises `Cancelled`
    when `cancel` is set meanwhile, `UserError` where the file cannot be made.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        waited = False
        while not _take(descriptor):
            if refusal is not None:
                raise UserError(refusal)
            if on_wait is not None and not waited:
                on_wait()
            waited = True
            cancel.check()
            time.sleep(LOOK_AGAIN_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True
