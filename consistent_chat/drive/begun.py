"""A dialogue that was begun: finished where all was recorded, else on its way."""

from __future__ import annotations

from concurrent.futures import Future

from consistent_chat.dialogue import Dialogue

Begun = Dialogue | Future[Dialogue]


def is_done(begun: Begun) -> bool:
    """Tell whether nothing needs to be waited for."""
    return isinstance(begun, Dialogue) or begun.done()


def finished(begun: Begun) -> Dialogue:
    """Wait for a dialogue; raises what has stopped it."""
    return begun if isinstance(begun, Dialogue) else begun.result()
