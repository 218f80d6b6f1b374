"""The examples in the documentation of the small functions hold."""

import doctest

import pytest

from groundup.release import card, picture, words


@pytest.mark.parametrize("module", [card, picture, words])
def test_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
