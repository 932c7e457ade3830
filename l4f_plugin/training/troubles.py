"""What goes wrong with a training: how it is called, what is said of it, and which settings mend it.

A training that cannot go on ends with a ``Trouble``. What it may yet recover from is told while it goes on.
"""

from __future__ import annotations

from ..errors import UserError

DIVERGED, MEMORISED, ALIKE, COLLAPSED, SPILLED = "diverged", "memorised", "alike", "collapsed", "spilled"
DISK, GONE = "disk", "gone"

SENTENCES = {
    DIVERGED: "The training left the finite numbers and was stopped; it goes on from its last good state, with smaller "
    "steps and more R1.",
    MEMORISED: "The discriminator tells all pictures from the generator's, which learns nothing from that; "
    "augmentation and more R1 make its task harder.",
    ALIKE: "The samples are nearly all alike; augmentation, more R1 and smaller steps bring variety back.",
    SPILLED: "Masks cover much of what looks like background. Unless subjects fill these pictures, the generator has "
    "to learn for longer, and then the masks anew.",
    GONE: "The pictures are no longer where they were; the training goes on with the copy that it made of them.",
}
"""What is wrong and what helps."""

HELPFUL = {
    DIVERGED: ("learning_rate", "r1_weight", "feature_dtype"),
    MEMORISED: ("learning_rate", "r1_weight", "augmentation"),
    ALIKE: ("learning_rate", "r1_weight", "augmentation"),
}
"""Settings that may be others when a training goes on after that: those with such an end of their name."""


class Trouble(UserError):
    """A training cannot go on as it is; ``kind`` is one of the names above."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind
