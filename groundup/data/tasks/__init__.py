"""Verifiable instructions made by procedures, in English and Chinese.

A `Family` makes `Task`s: a question, its one right answer, and a payload that names the instance. An instance is held
out when a hash of its family and payload says so, hence training and held-out instances never meet.
"""

from groundup.data.tasks.family import Family, Language, Task
from groundup.data.tasks.make import FAMILIES, check, heldout, is_heldout, training

__all__ = ["FAMILIES", "Family", "Language", "Task", "check", "heldout", "is_heldout", "training"]
