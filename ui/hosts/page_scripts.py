"""JavaScript for the host's page."""


def reveal(*places: tuple[str, str], first: str = "", main: str = "", seen: str = "") -> str:
    """Opens tabs, from the outside in: each is the id of the tabs and the id of the pane.

    `first` is a function of the host to call before, where it has that; `main` the main tab that it opens, `seen` the
    id of what is to be scrolled into view.
    """
    steps = ""
    if first:  # the page takes a moment to follow: a tab that was open till now would not hear its button
        steps = f'if (typeof window["{first}"] === "function") window["{first}"]();'
        steps += "await new Promise((done) => setTimeout(done));"
    steps += "".join(f'open("{tabs}", "{pane}");{_modern(pane)}' for tabs, pane in places) + _modern(main)
    if seen:
        steps += f'setTimeout(() => document.querySelector("#{seen}")?.scrollIntoView({{ block: "center" }}), 100);'
    return """async () => {
        const open = (tabs, pane) => {
            const panes = [...document.querySelectorAll(`#${tabs} > .tabitem, #${tabs} > div > .tabitem`)];
            const index = panes.findIndex((item) => item.id === pane);
            const buttons = document.querySelectorAll(`#${tabs} > .tab-nav > button`);
            if (index >= 0 && buttons[index]) buttons[index].click();
        };
        STEPS
    }""".replace("STEPS", steps)


def press(*identifiers: str, main: str = "") -> str:
    """Presses the first of these buttons that is seen, or never shown. `main` is the main tab that this opens."""
    selector = ", ".join(f"#{identifier}" for identifier in identifiers)
    return f"""() => {{
        const pressable = (item) => item.offsetParent !== null || item.matches(".l4f-hidden");
        [...document.querySelectorAll("{selector}")].find(pressable)?.click();
        {_modern(main)}
    }}"""


def when_seen(place: str, identifier: str) -> str:
    """Presses a button when this part of the page first comes into view; newer Gradios build it no earlier."""
    return f"""() => {{
        const watch = () => {{
            const place = document.querySelector("#{place}");
            if (!place) return setTimeout(watch, 300);
            new IntersectionObserver((entries, observer) => {{
                if (!entries.some((entry) => entry.isIntersecting)) return;
                observer.disconnect();
                document.querySelector("#{identifier}").click();
            }}).observe(place);
        }};
        watch();
    }}"""


def _modern(tab: str) -> str:
    """SD.Next's Modern UI has buttons of its own for the main tabs, and hides those that everybody else presses."""
    return f"""document.querySelector('.xtabs-tab[tabItemId$="#{tab}_tabitem"]')?.click();""" if tab else ""
