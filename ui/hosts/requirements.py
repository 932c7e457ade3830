"""What the host's Python lacks, in words. Looks for modules and imports none of them."""

from __future__ import annotations

import importlib.util
import sys

from ..texts import text

MODULES = {
    "torch": "torch",
    "numpy": "numpy",
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "safetensors": "safetensors",
}
"""Modules that the plug-in imports, and the packages that have them; Gradio builds the tab that says so."""


def missing_packages() -> list[str]:
    """Names of packages, as pip wants them."""
    return [package for module, package in MODULES.items() if not _is_there(module)]


def mend(packages: list[str]) -> str:
    """What to do about missing packages."""
    command = f'"{sys.executable}" -m pip install {" ".join(packages)}'
    return text("host.missing", packages=", ".join(packages), command=command)


def _is_there(module: str) -> bool:
    if sys.modules.get(module) is not None:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
