"""What a Space shows: a heading and the panels that draw."""

from html import escape

import gradio as gr

from .. import compat
from ..controls import style
from ..generate_panel import GeneratePanel
from ..service import Service
from ..swap_panel import SwapPanel
from ..texts import text


def build(service: Service, pictures: int) -> gr.Blocks:
    """The page, not yet served. `pictures` is the most that one request may draw."""
    with compat.blocks(text("app.title"), style()) as page, gr.Column(elem_id="l4f", elem_classes="l4f"):
        title, subtitle = escape(text("app.title")), escape(text("app.subtitle"))
        gr.HTML(f'<div class="l4f-header"><div class="l4f-title"><h1>{title}</h1><p>{subtitle}</p></div></div>')
        gr.Markdown(text("space.about", pictures=pictures), elem_id="l4f_space_about", elem_classes="l4f-note")
        with gr.Tabs(elem_id="l4f_tabs") as tabs:
            with gr.Tab(text("generate.tab"), id="generate", elem_id="l4f_tab_generate"):
                generate = GeneratePanel(service)
            with gr.Tab(text("swap.tab"), id="swap", elem_id="l4f_tab_swap"):
                swap = SwapPanel(service)
        generate.count.maximum = pictures
        generate.count.value = min(4, pictures)
        swap.stage.save.visible = False  # it saves where the page runs, which is nobody's computer here
        swap.open_with(generate.to_swap.click, generate.stage.results, generate.stage.picked, tabs)
    return page
