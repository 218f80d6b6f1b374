"""Exceptions with which a service refuses a request."""

from groundup.core.errors import InputError


class Busy(Exception):
    """The queue is full; `retry_after` says in how many seconds there may be room."""

    def __init__(self, retry_after: float, what: str = "too many requests are waiting"):
        super().__init__(f"{what}; try again in {retry_after:.0f} seconds")
        self.retry_after = retry_after


class Closing(InputError):
    """The service takes no more requests."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; ask another, or later")
