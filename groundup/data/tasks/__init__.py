"""Verifiable instructions made by procedures, in English and Chinese.

A `Family` makes `Task`s: a question, its one right answer, and a payload that names the instance. A hash of family and
payload decides what is held out: training and held-out instances never meet.
"""

from groundup.data.tasks.families import FAMILIES, family
from groundup.data.tasks.family import Family, Language, Task

__all__ = ["FAMILIES", "Family", "Language", "Task", "family"]
