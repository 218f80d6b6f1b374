"""The boundary between requests: what the work of one raises goes no further."""

import logging
from collections.abc import Callable
from typing import TypeVar

from groundup.core.errors import InputError

T = TypeVar("T")
LOG = logging.getLogger(__name__)


def attempt(work: Callable[[], T], failed: Callable[[Exception], object]) -> T | None:
    """What one request's work comes to; if it raises, `failed` is told why, and None returned.

    The only place that catches every exception: an engine works for many, and none of them may end it. What is no fault
    of the request's input is logged with its traceback.
    """
    try:
        return work()
    except Exception as error:
        if not isinstance(error, InputError):
            LOG.error("work for a request failed: %s", error, exc_info=error)
        failed(error)
        return None
