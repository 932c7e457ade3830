"""How good masks and pictures are: masks against masks, and an object class against a supervised judge."""
