"""Error isolation between requests: an exception of one request's work ends that request alone."""

import logging
from collections.abc import Callable
from typing import TypeVar

from groundup.core.errors import InputError

T = TypeVar("T")
LOG = logging.getLogger(__name__)


def isolated(work: Callable[[], T], on_error: Callable[[Exception], object]) -> T | None:
    """The result of one request's work; if it raises, call `on_error` with the exception and return None.

    Only here is every exception caught: no request may end the engine. All but InputError are logged with traceback.
    """
    try:
        return work()
    except Exception as error:
        if not isinstance(error, InputError):
            LOG.error("work for a request failed: %s", error, exc_info=error)
        on_error(error)
        return None
