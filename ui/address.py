"""What was asked for last, in the page's address, from which a reload or a link brings it back."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import compat


def keep(trigger: Callable, parts: Mapping[str, Any]) -> None:
    """Wires an event that writes the values of components into the address, each under its name."""
    script = """(...values) => {
        const kept = new URLSearchParams(location.hash.slice(1));
        NAMES.forEach((name, index) => kept.set(name, values[index]));
        history.replaceState(null, "", "#" + kept);
    }"""
    compat.on(trigger, None, list(parts.values()), js=script.replace("NAMES", json.dumps(list(parts))))


def bring(opened: Callable, read: Callable[[str], dict], carrier: Any, outputs: Sequence, name: str = "") -> None:
    """Wires an event (the page being opened) that has `read` make updates of what stands there under a name, of all
    that stands there without one. It comes by way of a hidden text field, the `carrier`."""
    found = f"new URLSearchParams(location.hash.slice(1)).get({json.dumps(name)}) ?? ''"
    compat.on(opened, read, [carrier], outputs, js=f"() => {found}" if name else "() => location.hash.slice(1)")
