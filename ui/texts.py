"""Every word that the pages show, in one table: a translation is a second table with the same keys."""

from __future__ import annotations

ENGLISH = {
    # app
    "app.title": "Labels4Free",
    "app.subtitle": "Objects with soft masks, and new backgrounds for them",
    # header
    "header.device": "Device: {device}",
    "header.device_later": "Device: chosen at the first picture",
    "header.idle": "no class in memory",
    "header.loaded": "{title} in memory, {memory}",
    "header.megabytes": "{count:.0f} MB",
    "header.unload": "Unload",
    "header.unloaded": "Unloaded: {before} before, {after} now.",
    "header.nothing_to_unload": "No class is in memory, so there is nothing to unload.",
    # class
    "class.details": "{resolution} × {resolution} px · weights: {licence}",
    "class.none": "There is no object class yet. Put a bundle into the models folder and reload this page.",
    # generate
    "generate.tab": "Generate",
    "generate.class": "Object class",
    "generate.seeds": "Seeds",
    "generate.seeds_info": "A number, a range or a list such as 0-7,12. −1 draws new ones.",
    "generate.random": "Random",
    "generate.reuse": "Reuse last",
    "generate.psi": "Truncation psi",
    "generate.psi_info": "Low: typical and clean. High: varied and less certain.",
    "generate.count": "Pictures",
    "generate.count_info": "How many, where Seeds holds one number: new ones for −1, else counting up.",
    "generate.run": "Generate",
    "generate.cancel": "Cancel",
    "generate.view": "Show",
    "generate.view_info": "The picture, its soft mask, or the subject cut out.",
    "generate.gallery": "Results",
    "generate.empty_title": "No pictures yet",
    "generate.empty": "Press Generate: the first four appear in a few seconds, each with its mask.",
    "generate.caption": "seed {seed}",
    "generate.pick": "Click a picture to see its seed and to use it further.",
    "generate.picked": "Seed **{seed}** · psi {psi:.2f} · {title}",
    "generate.to_swap": "Swap its background",
    "generate.use_seed": "Use this seed",
    "generate.download": "Download PNG",
    "generate.download_all": "All as ZIP",
    "generate.drawing": "{done} of {total} pictures",
    "generate.done": "{pictures} in {seconds:.1f} s · {seeds} · saved in {folder}",
    "generate.stopped": "Stopped. {pictures} kept · saved in {folder}",
    "generate.stopped_empty": "Stopped before the first picture.",
    "generate.one_picture": "1 picture",
    "generate.many_pictures": "{count} pictures",
    "generate.one_seed": "seed {seeds}",
    "generate.many_seeds": "seeds {seeds}",
    "generate.nothing_to_reuse": "No picture has been made yet, so there is no seed to reuse.",
    "generate.nothing_to_pack": "There are no pictures to pack yet: press Generate first.",
    # job
    "job.loading": "Loading {title}",
    "job.waiting": "Waiting for another job to finish",
    "job.stopped": "Stopped.",
    # view
    "view.picture": "Picture",
    "view.mask": "Mask",
    "view.cutout": "Cut-out",
    # swap
    "swap.tab": "Swap background",
    "swap.class": "Class of the subject",
    "swap.seed": "Subject seed",
    "swap.seed_info": "Which one. −1 draws a new one and shows it here.",
    "swap.random": "Random subject",
    "swap.psi": "Truncation psi of the subject",
    "swap.psi_info": "The same value gives the same subject as on the page Generate.",
    "swap.kind": "New background",
    "swap.kind_info": "What to put behind the subject.",
    "swap.background_seed": "Background seed",
    "swap.background_seed_info": "Whose background is drawn. Enter shows it.",
    "swap.picture": "Background picture",
    "swap.picture_info": "It is scaled and cropped to fill the frame.",
    "swap.colour": "Background colour",
    "swap.colour_info": "A plain studio backdrop.",
    "swap.blur": "Blur radius in pixels",
    "swap.blur_info": "The subject's own background, out of focus.",
    "swap.transparent": "The subject alone: the PNG carries its soft edge as transparency.",
    "swap.edge_section": "Edge of the mask",
    "swap.edge": "Edge",
    "swap.edge_info": "Soft keeps hair and fringes, hard is all or nothing.",
    "swap.threshold": "Threshold",
    "swap.threshold_info": "From this mask value on a pixel belongs to the subject.",
    "swap.grow": "Grow or shrink the mask in pixels",
    "swap.grow_info": "Below 0 shrinks it and removes a fringe.",
    "swap.feather": "Feather in pixels",
    "swap.feather_info": "How wide the edge fades out.",
    "swap.keep_largest": "Largest piece only",
    "swap.keep_largest_info": "Drops specks that belong to nothing.",
    "swap.run": "Swap background",
    "swap.cancel": "Cancel",
    "swap.view": "Preview",
    "swap.view_info": "The result, the mask that was used, or both pictures side by side.",
    "swap.before": "Before",
    "swap.after": "After",
    "swap.empty_title": "No subject yet",
    "swap.empty": "Press Swap background, or pick a picture on the page Generate and send it here.",
    "swap.download": "Download PNG",
    "swap.save": "Save result",
    "swap.working": "Drawing seed {seed}",
    "swap.done": "Seed {seed} · {background}",
    "swap.saved": "Saved as {path}",
    "swap.nothing_to_save": "There is no result to save yet: press Swap background first.",
    "swap.picture_missing": "No background picture yet: drop one above.",
    # preview
    "preview.result": "Result",
    "preview.mask": "Mask",
    "preview.compare": "Before and after",
    # kind
    "kind.seed": "Other seed",
    "kind.picture": "Picture",
    "kind.colour": "Colour",
    "kind.blur": "Blur",
    "kind.transparent": "Transparent",
    # background
    "background.seed": "background of seed {seed}",
    "background.picture": "{label} behind it",
    "background.colour": "on {label}",
    "background.blur": "background blurred by {radius:g} px",
    "background.transparent": "transparent",
    # edge
    "edge.soft": "Soft",
    "edge.hard": "Hard",
    # problem
    "problem.one_seed": "One seed is wanted here, such as 7, or −1 to draw one.",
    "problem.no_seeds": "Seeds is empty; type a number, a range such as 0-7, or −1 to draw one.",
    "problem.too_many": "{count} pictures are too many at a time; ask for at most {limit}.",
    "problem.no_class": "No object class is chosen; choose one in the list above.",
    "problem.unexpected": "Something unexpected happened ({kind}); the terminal behind this page has the details.",
    # server
    "server.help": "Opens the Labels4Free page in the browser.",
    "server.no_browser": "do not open a browser",
    "server.port": "port to serve on (taken: the next free one, default {port})",
    "server.listen": "answer other computers of the network too, not only this one",
    "server.auth": "ask for this name and password",
    "server.share": "make a public address through Gradio's relay (off by default)",
    "server.output": "where pictures are saved (default {folder})",
    "server.port_taken": "Port {taken} is taken, so the page uses {port}.",
    "server.no_port": "No port between {first} and {last} is free; name another one with --port.",
    "server.address": "Labels4Free is at {address} (stop it with Ctrl-C)",
    "server.network": "Other computers of the network reach it at {address}",
    "server.public": "Public address: {address}",
    "server.open_to_all": "Whoever reaches this address can use the page; --auth USER:PASS stops that.",
    "server.bad_auth": "--auth wants a name and a password with a colon between, as in --auth ann:secret.",
    "server.bad_port": "--port wants a number from 1 to 65535.",
    "server.stopped": "Stopped.",
}

_table = ENGLISH


def use_table(table: dict[str, str]) -> None:
    """Shows the words of `table` from now on; what it lacks stays English. Call it before building a page."""
    global _table
    _table = {**ENGLISH, **table}


def has(key: str) -> bool:
    """Whether there are words for `key`."""
    return key in _table


def text(key: str, /, **values: object) -> str:
    """The words for `key`, with `values` filled in. Raises `KeyError` for a key that no table has."""
    words = _table[key]
    return words.format(**values) if values else words
