"""Verifiers: decide by rule whether an answer is right, for verifiable rewards and for evaluation."""
