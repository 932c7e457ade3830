"""The colours and fonts of the stand-alone page; a web UI has its own."""

from __future__ import annotations

from typing import Any

import gradio as gr


def theme() -> Any:
    """A quiet theme that follows the browser's dark setting and loads no font from the network."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    quiet = gr.themes.Default(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=system,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    # Gradio's own explanations are too faint to be read by everybody (contrast 2.6 on white).
    return quiet.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )
