"""What the panels share: the door to the engine, the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .engine import Engine
from .library import Library
from .outputs import Outputs

if TYPE_CHECKING:
    from .neighbours import Neighbour


@dataclass
class Workspace:
    """One per page. A host hands in an engine and outputs of its own, and names the tabs that take results.

    `manages_classes` says that whoever sees the page may download, import, complete and delete classes, so it
    belongs to a page that only its owner reaches; `own_repositories` that any repository of the Hub may be named.
    """

    engine: Engine = field(default_factory=Engine)
    outputs: Outputs = field(default_factory=Outputs)
    neighbours: Sequence[Neighbour] = ()
    manages_classes: bool = False
    own_repositories: bool = False
    library: Library = field(init=False)

    def __post_init__(self) -> None:
        self.library = Library(self.engine)
