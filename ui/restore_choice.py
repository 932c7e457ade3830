"""Restoring a panel from a picture: a place for one of our PNG files, whose text fills the controls."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from l4f_plugin.errors import UserError
from l4f_plugin.provenance import Recipe, recipe_of

from . import compat
from .controls import element_id
from .service import Service
from .texts import text

LARGEST_PSI_SHOWN = 1.5


class RestoreChoice:
    """Builds the place to drop a picture; after an event of `dropped` a panel reads it with `read`."""

    def __init__(self, service: Service, panel: str):
        self._service = service
        section = f"{panel}.restore_section"
        with gr.Accordion(text("restore.section"), open=False, elem_id=element_id(section)):
            self.picture = compat.uploaded_image(
                label=text(f"{panel}.restore"), height=150, elem_id=element_id(f"{panel}.restore")
            )
            gr.Markdown(text("restore.note"), elem_classes="l4f-note")
        self.dropped = self.picture.upload

    def read(self, picture: str | None) -> Recipe:
        """The recipe in the picture. Raises `UserError` where there is none, or none that can be drawn here."""
        recipe = None if picture is None else recipe_of(Path(picture).read_bytes())
        if recipe is None:
            raise UserError(text("restore.none"))
        if not self._service.is_usable(recipe.class_name):
            raise UserError(text("restore.no_class", name=recipe.class_name))
        return recipe

    def told(self, recipe: Recipe) -> str:
        """What was restored, in words, with what the controls cannot show."""
        words = text("restore.done", seed=recipe.seed, psi=recipe.style.truncation_psi)
        usual = recipe.style.truncation_cutoff is None and recipe.style.noise_mode == "random"
        if not usual or not 0 <= recipe.style.truncation_psi <= LARGEST_PSI_SHOWN:
            words += " " + text("restore.partly")
        return words


def shown_psi(recipe: Recipe) -> float:
    """The recipe's psi as far as the slider goes."""
    return min(max(recipe.style.truncation_psi, 0.0), LARGEST_PSI_SHOWN)
