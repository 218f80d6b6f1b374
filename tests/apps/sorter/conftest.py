"""Fixtures of the sorter, shared with evaluation."""

from tests.evaluate.conftest import tokenizer  # noqa: F401
