"""The examples in the documentation of the small functions hold."""

import doctest

import pytest

from groundup.core import units
from groundup.release import card, picture


@pytest.mark.parametrize("module", [card, picture, units])
def test_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
