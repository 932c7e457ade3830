"""Training: the generator from a folder of pictures, then the alpha network from the frozen generator."""
