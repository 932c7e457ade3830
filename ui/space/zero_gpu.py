"""ZeroGPU: a Space whose graphics card is there only while a decorated function runs, in a process of its own."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

SECONDS = 60
_DRAWING = ("generate", "draw", "segment", "segment_photo", "swap")


@cache
def gpu_decorator() -> Callable[..., Any] | None:
    """`spaces.GPU` of the real package on a Space; None anywhere else.

    The environment is asked first: inside one of the web UIs a file of its own answers to the name `spaces`.
    Call this before torch is imported.
    """
    if not os.environ.get("SPACE_ID"):
        return None
    found = importlib.util.find_spec("spaces")
    if found is None or not found.submodule_search_locations:  # the real one is a package
        return None
    import spaces

    return spaces.GPU


class Lender:
    """Lends the card to a pipeline that lies in main memory: each call goes through one decorated function.

    Make it before the page is served: ZeroGPU looks for decorated functions at the start. The function runs in a
    copy of this process, so tokens for cancelling stay behind.
    """

    def __init__(self, decorator: Callable[..., Any]):
        self.pipeline: Any = None

        def work(method: str, arguments: tuple, options: Mapping[str, Any]) -> Any:
            self.pipeline.to("cuda")
            return getattr(self.pipeline, method)(*arguments, **options)

        self._work = decorator(duration=SECONDS)(work)

    def __getattr__(self, name: str) -> Any:
        """The pipeline's own, which needs no card to be looked at; what draws goes through the card."""
        if name not in _DRAWING:
            return getattr(self.pipeline, name)

        def call(*arguments: Any, cancel: Any = None, **options: Any) -> Any:
            if cancel is not None:
                cancel.check()
            return self._work(name, arguments, options)

        return call
