"""Data sets: the avatar pictures with their exact masks, and the export of generated pictures."""
