"""The Gradio pages of Labels4Free, imported as ``l4f_ui``.

Importing this package costs next to nothing: Gradio comes with `app`, torch with the first job.
"""
