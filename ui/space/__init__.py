"""The page of a Space: two panels, one class, limits for each visitor, nothing that changes the Space."""
