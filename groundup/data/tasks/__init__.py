"""Task families: procedurally generated, verifiable instructions in English and Chinese.

A `Family` generates `Task`s: a question, its only right answer, and a payload that identifies the instance. A hash of
family and payload decides what is held out: no instance is both in training and held out.
"""

from groundup.data.tasks.families import FAMILIES, family
from groundup.data.tasks.family import Family, Language, Task

__all__ = ["FAMILIES", "Family", "Language", "Task", "family"]
