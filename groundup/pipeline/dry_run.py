"""What a run would do, before it does anything."""

from pathlib import Path
from typing import Any

from groundup.config.derived import derivations
from groundup.config.recipe import Recipe
from groundup.core import units
from groundup.core.hashes import Hashes
from groundup.device import pick
from groundup.model import cost
from groundup.pipeline import stages
from groundup.pipeline.estimate import training_memory, training_seconds
from groundup.pipeline.plan import plan as stages_of
from groundup.pipeline.states import states


def plan(recipe: Recipe, home: Path, root: Path, device: str | None) -> tuple[dict[str, Any], list[str]]:
    """The stages of a recipe, every derived value, and what training costs: as JSON, and as lines."""

    chosen = pick(device)
    found = list(states(recipe, stages_of(recipe, home), root, Hashes(root / "hashes.json")))
    values = derivations(recipe)
    config = stages.planned_config(recipe, home)
    seconds = training_seconds(recipe, config, chosen)
    memory = training_memory(recipe, config, chosen)
    tokens = sum(stage.tokens for stage in recipe.stage)
    flops = tokens * cost.training_flops(config, recipe.model.context)
    table = {
        "stages": {state.stage.name: state.reason or "fresh" for state in found},
        "values": {
            value.key: {"value": value.value, "origin": value.origin, "reason": value.reason} for value in values
        },
        "parameters": {**cost.parameters(config), "total": cost.total(config)},
        "training_flops": flops,
        "training_seconds": seconds,
        "training_memory": memory,
    }
    lines = ["stages"] + [f"  {state.stage.name:<28} {state.reason or 'fresh'}" for state in found]
    lines += ["values"] + [
        f"  {value.key:<28} {value.value!s:<12} {value.origin:<10} {value.reason}" for value in values
    ]
    lines += [
        f"parameters  {cost.total(config):,}: "
        + ", ".join(f"{name} {count:,}" for name, count in cost.parameters(config).items())
    ]
    time = "" if seconds is None else f", about {units.duration(seconds)} on {chosen.name} without compilation"
    lines += [f"training    {tokens:,} tokens, {flops:.2e} FLOPs{time}"]
    lines += [f"memory      {name}: {peak / 2**20:,.0f} MiB beside the program itself" for name, peak in memory.items()]
    return table, lines
