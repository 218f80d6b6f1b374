"""The commands of the sorter: `groundup sort` and `groundup replay`."""

from pathlib import Path
from typing import Annotated

import typer

from groundup.core.commands import DeviceName, Json, show

Key = Annotated[str | None, typer.Option(envvar="GROUNDUP_KEY", help="The server's key, if it asks for one.")]
Items = Annotated[
    int | None, typer.Option(min=1, help="Items that leave the line before it ends; left out: 500, with --page none.")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the page; left out: any that is free.")]
LanguageModel = Annotated[
    str | None, typer.Option(help="A model for orders, in place of the one that sees; or NAME=http://HOST:PORT.")
]
Orders = Annotated[list[str] | None, typer.Option(help="An order to give first; may be repeated.", show_default=False)]
ConfirmBelow = Annotated[
    float | None, typer.Option(min=0, max=1, help="Ask about orders below this probability; left out: as calibrated.")
]
Record = Annotated[
    Path | None, typer.Option(help="Folder to record the episode in, in the layout of LeRobot data sets.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(sort)
    app.command()(replay)


def sort(
    model: Annotated[
        str | None, typer.Argument(help="A model that sees, or http://HOST:PORT of a server.", show_default=False)
    ] = None,
    items: Items = None,
    setting: Annotated[
        str, typer.Option(help="standard, or the line under a domain shift, such as dark.")
    ] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same items and the same random failures.")] = 0,
    sure: Annotated[
        int, typer.Option(min=50, max=99, help="Confidence threshold in percent: items below go to manual sorting.")
    ] = 80,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Sort with a ground-truth oracle: the limit of the arm.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What the model is called at the server.")] = None,
    key: Key = None,
    page: Annotated[
        bool, typer.Option("--page", help="Show the line in a page that takes orders, in real time, until Ctrl-C.")
    ] = False,
    port: Port = None,
    language_model: LanguageModel = None,
    order: Orders = None,
    confirm_below: ConfirmBelow = None,
    record: Record = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Inject random faults of camera, gripper, belt and model.")
    ] = False,
    device: DeviceName = None,
    as_json: Json = False,
) -> None:
    """Sort waste on the simulated line with a model, and print the figures."""
    from groundup.core.extras import require

    require("sorter")
    if page:
        require("serve")
    from groundup.apps.sorter.command import SortOptions
    from groundup.apps.sorter.command import sort as work
    from groundup.apps.sorter.figures import lines
    from groundup.pipeline.finished import model_folder

    options = SortOptions(
        model, oracle, name, key, items, setting, seed, sure, record, page, port, device, faults, language_model,
        tuple(order or ()), confirm_below, confirmed,
    )  # fmt: skip
    figures = work(options, model_folder)
    show(as_json, figures, lines(figures))


def confirmed(words: str) -> bool:
    """Whether the operator at the terminal says yes to the words of an order; the end of the input is a no."""
    try:
        return typer.confirm(f"{words}. Do that?", err=True)
    except typer.Abort:
        return False


def replay(
    episodes: Annotated[Path, typer.Argument(help="Folder with recorded episodes.", show_default=False)],
    model: Annotated[Path, typer.Argument(help="A model that detects items in images.", show_default=False)],
    episode: Annotated[int, typer.Option(min=0, help="Number of the episode.")] = 0,
    sure: Annotated[int, typer.Option(min=50, max=99, help="Confidence threshold in percent.")] = 80,
    device: DeviceName = None,
    as_json: Json = False,
) -> None:
    """Run a model on a recorded episode of the line, and compare its actions with the recorded ones."""
    from groundup.core.extras import require

    require("sorter")
    from groundup.apps.sorter.replay import lines
    from groundup.apps.sorter.replay import replay as show_again
    from groundup.pipeline.finished import model_folder

    figures = show_again(episodes, episode, model_folder(model), sure, device)
    show(as_json, figures, lines(figures))
