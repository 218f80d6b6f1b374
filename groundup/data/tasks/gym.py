"""The package reasoning-gym (extra `gym`): its English data sets with levels and one right answer, as families."""

import importlib
from functools import cache
from random import Random
from typing import Any

from groundup.core.errors import InputError
from groundup.data.tasks.family import Family, Language, Task

PREFIX = "gym-"

# Besides the data sets that reasoning-gym itself scores by equality: these have one right answer too, but their
# scoring forgives case or number format, or gives credit for a part.
_FORGIVING = frozenset(
    {
        "calendar_arithmetic",
        "chain_sum",
        "family_relationships",
        "needle_haystack",
        "products",
        "spell_backward",
        "word_sorting",
    }
)
_SIZE = 2**31  # data sets make item i from (seed, i) on demand, so a large one costs nothing


@cache
def family(name: str, level: int) -> Family:
    """The family `gym-<dataset>` at a level of its curriculum; InputError without the package, data set or level."""
    dataset = _dataset(name, level)

    def make(rng: Random, level: int, language: Language) -> Task:
        entry = dataset[rng.randrange(_SIZE)]
        question = entry["question"].strip()
        return Task(question, entry["answer"], question)

    return Family(make, ("curriculum level 0", "level 1", "level 2", "level 3", "level 4"), languages=("en",))


def _dataset(name: str, level: int) -> Any:
    gym = _package(name)
    known = sorted(dataset for dataset in gym.factory.CURRICULA if _one_answer(gym, dataset))
    dataset = name.removeprefix(PREFIX)
    if dataset not in known:
        raise InputError(
            f"{name}: reasoning-gym has no data set {dataset!r} with levels and one right answer; it has"
            f" {', '.join(known)}"
        )
    curriculum = gym.factory.create_curriculum(dataset)
    curriculum.set_global_level(level - 1)
    configuration = curriculum.generate_configuration({"seed": 0, "size": _SIZE})
    try:
        return gym.factory.DATASETS[dataset][0](configuration)
    except AssertionError as error:  # how reasoning-gym refuses a configuration
        raise InputError(f"{name}: reasoning-gym cannot make level {level} ({error}); choose a lower level") from error


def _one_answer(gym: Any, dataset: str) -> bool:
    scoring = gym.factory.DATASETS[dataset][0].score_answer
    return dataset in _FORGIVING or scoring is gym.dataset.ProceduralDataset.score_answer


def _package(name: str) -> Any:
    try:
        return importlib.import_module("reasoning_gym")
    except ModuleNotFoundError:
        raise InputError(
            f"{name}: the package reasoning-gym is not installed; install groundup[gym], or leave this family out"
        ) from None
