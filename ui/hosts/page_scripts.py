"""JavaScript for the host's page."""

from __future__ import annotations


def reveal(*places: tuple[str, str], first: str = "") -> str:
    """Opens tabs, from the outside in: each is the id of the tabs and the id of the pane.

    `first` is a function of the host to call before, where it has that.
    """
    steps = f'if (typeof window["{first}"] === "function") window["{first}"]();' if first else ""
    steps += "".join(f'open("{tabs}", "{pane}");' for tabs, pane in places)
    return """() => {
        const root = typeof gradioApp === "function" ? gradioApp() : document;
        const open = (tabs, pane) => {
            const panes = [...root.querySelectorAll(`#${tabs} > .tabitem, #${tabs} > div > .tabitem`)];
            const index = panes.findIndex((item) => item.id === pane);
            const buttons = root.querySelectorAll(`#${tabs} > .tab-nav > button`);
            if (index >= 0 && buttons[index]) buttons[index].click();
        };
        STEPS
    }""".replace("STEPS", steps)


def press(*identifiers: str) -> str:
    """Presses the first of these buttons that is on the page and not hidden with its tab."""
    selector = ", ".join(f"#{identifier}" for identifier in identifiers)
    return f"""() => {{
        const root = typeof gradioApp === "function" ? gradioApp() : document;
        const found = [...root.querySelectorAll("{selector}")].find((item) => item.offsetParent !== null);
        if (found) found.click();
    }}"""
