"""What the panels share: the door to the engine, the outputs, the running jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .engine import Engine
from .library import Library
from .outputs import Outputs

if TYPE_CHECKING:
    from l4f_plugin.runtime import CancelToken

    from .stage import Neighbour


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
    _jobs: dict[str, CancelToken] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.library = Library(self.engine)

    def start_job(self, identifier: str) -> CancelToken:
        """A token for a new job, found again by `stop_job`."""
        token = self._jobs[identifier] = self.engine.new_token()
        return token

    def stop_job(self, identifier: str | None) -> bool:
        """Cancels that job; False where it has ended."""
        token = self._jobs.get(identifier) if identifier else None
        if token is None:
            return False
        token.cancel()
        return True

    def end_job(self, identifier: str) -> None:
        """Forgets the job."""
        self._jobs.pop(identifier, None)
