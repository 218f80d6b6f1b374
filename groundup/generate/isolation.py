"""Error isolation between requests: an exception in the work of one request ends that request alone."""

import logging
from collections.abc import Callable
from typing import TypeVar

from groundup.core.errors import InputError

T = TypeVar("T")
LOG = logging.getLogger(__name__)


def isolated(work: Callable[[], T], on_error: Callable[[Exception], object]) -> T | None:
    """Run the work of one request and return its result; on an exception call `on_error` and return None.

    This is the only place that catches every exception, so that no request ends the engine. All exceptions except
    InputError are logged with traceback.
    """
    try:
        return work()
    except Exception as error:
        if not isinstance(error, InputError):
            LOG.error("work for a request failed: %s", error, exc_info=error)
        on_error(error)
        return None
