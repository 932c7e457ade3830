"""Labels4Free: object classes with soft masks from a frozen StyleGAN2 generator.

>>> from l4f_plugin import Labels4FreePipeline
>>> subject = Labels4FreePipeline.from_pretrained("avatar").generate([7])[0]
>>> subject.cutout().save("seed7.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arguments import Background, Canvas, Spot
    from .jobs import CancelToken
    from .pipeline import Labels4FreePipeline, Subject, SwapResult

__version__ = "0.1.0"
__all__ = ["Background", "CancelToken", "Canvas", "Labels4FreePipeline", "Spot", "Subject", "SwapResult", "__version__"]


def __getattr__(name: str) -> Any:
    """The pipeline and its companions, imported when first asked for: torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import pipeline

    return getattr(pipeline, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
