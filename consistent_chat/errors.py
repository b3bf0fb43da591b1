"""The exceptions of this package.

    ConsistentChatError
      RecipeError              a field, recipe file or taxonomy is wrong (also a ValueError)
      StoreError               the response store cannot be read or written
        DamagedRecord a stored record does not match its digest
        MissingResponse        replay: the store lacks a response
      ServingError             the serving will not answer, and retrying cannot help
        RefusedRequest         one request is refused as it is: tried again by the driver while others are answered
        RefusedAccess          the key, the model or the address is refused: final where nothing was answered before
        TransportError         a passing fault of the connection or server: tried again by the driver
          OversizedAnswer      an answer beyond the bound: often there is no end to it
      PublishError             a dataset cannot be published or read where it is published
      UnfilledSlot             every spec tried for one place in the plan failed for good
      BatchesPending           batches are in progress and were not waited for; rerun to collect them
      BudgetSpent              `max_calls` or `max_cost` is reached; rerun to resume

Messages say what happened, to what, and what to do. They never contain a key or a request header. What they quote of
files and servers is shown as it is, on one line: no text can drive the terminal or pass for a line of a log.
"""

from __future__ import annotations

from consistent_chat.text.sanitize import sanitize_line


class ConsistentChatError(Exception):
    """Base of all errors raised on purpose."""

    def __str__(self) -> str:
        return sanitize_line(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows, by IPython's convention: the message, without the frames of libraries."""
        return [f"{type(self).__name__}: {self}"]


class RecipeError(ConsistentChatError, ValueError):
    """The options or the recipe are not valid; nothing has been called or written."""


class StoreError(ConsistentChatError):
    """The response store cannot be read or written."""


class DamagedRecord(StoreError):
    """A stored record does not match its digest."""


class MissingResponse(StoreError):
    """A replay needs a response that the store does not have."""


class ServingError(ConsistentChatError):
    """The provider will not answer, and retrying cannot help.

    `billed` is a Response with the tokens that a faulty answer has taken, if the server told them.
    """

    billed: object = None


class RefusedRequest(ServingError):
    """The server rejects one request (400, 413, an answer without choices).

    If others are answered, the request is retried, and then counts as a refusal of this prompt. `words` is the server's
    message, safe to store.
    """

    retry_after = None
    rate_limited = False

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words


class RefusedAccess(ServingError):
    """The key, the model's name or the address is refused (401, 403, 404, a redirect).

    It stops a run in which nothing has been answered yet; later it is treated like a refused request. With
    `asks_others` the cause may also be this prompt (403, 404); another request shows which.
    """

    retry_after = None
    rate_limited = False

    def __init__(self, message: str, words: str = "", asks_others: bool = False) -> None:
        super().__init__(message)
        self.words, self.asks_others = words, asks_others


class TransportError(ServingError):
    """A temporary fault (429, 5xx, connection, timeout).

    `retry_after` is the pause that the server requests, in seconds, or None. `rate_limited` means that the server gets
    too many calls (429, 529); then the whole run slows down, not only this call. `loading` means that the server is not
    ready yet (503), `unreachable` that there is no connection to it, `unexplained` that it refuses calls (429) without
    mentioning rates, as for an account without credit. `retried` means that the serving has its own retry policy, which
    is exhausted. `late` means that the answer took too long; a provider may bill it.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        rate_limited: bool = False,
        loading: bool = False,
        unreachable: bool = False,
        retried: bool = False,
        unexplained: bool = False,
        late: bool = False,
    ) -> None:
        super().__init__(message, retry_after, rate_limited, loading, unreachable, retried, unexplained, late)
        self.message = message
        self.unexplained = unexplained
        self.loading, self.unreachable = loading, unreachable
        self.retry_after = retry_after
        self.rate_limited = rate_limited
        self.retried, self.late = retried, late

    def __str__(self) -> str:
        return sanitize_line(self.message)


class OversizedAnswer(TransportError):
    """An answer that exceeds the maximum size."""


class PublishError(ConsistentChatError):
    """A dataset cannot be published, or the dataset to verify does not exist. No partial publication remains."""


class UnfilledSlot(ConsistentChatError):
    """All specs that were tried for one position in the plan failed permanently."""


class BudgetSpent(ConsistentChatError):
    """`max_calls` or `max_cost` is reached. All answers are kept; rerun to resume."""


class BatchesPending(ConsistentChatError):
    """Batches are open, and the options forbid waiting for them. A later run collects them."""
