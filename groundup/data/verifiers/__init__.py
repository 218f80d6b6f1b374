"""Verifiers: whether an answer is right, by rule. Rewards and evaluation share them."""
