"""The Gradio pages of Labels4Free, imported as ``l4f_ui``."""
