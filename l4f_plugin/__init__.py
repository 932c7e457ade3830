"""Labels4Free: object classes with soft masks from a frozen StyleGAN2 generator."""

__version__ = "0.1.0"
