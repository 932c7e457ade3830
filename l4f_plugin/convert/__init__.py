"""Published checkpoints, made into bundles. Nothing in a checkpoint is ever run."""
