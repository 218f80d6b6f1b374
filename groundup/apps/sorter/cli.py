"""The command of the sorter: `groundup sort`."""

from pathlib import Path
from typing import Annotated

import typer

from groundup.core.commands import DeviceName, Json, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sort)


def sort(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model that names things in images, or http://HOST:PORT of a server.", show_default=False
        ),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(min=1, help="Items that leave the line before it ends; left out: 500, with --page none."),
    ] = None,
    setting: Annotated[
        str, typer.Option(help="standard, or the line under one of the world's shifts, such as dark.")
    ] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same items and the same luck.")] = 0,
    sure: Annotated[
        int, typer.Option(min=50, max=99, help="Percent: an item whose kind is less sure goes to the bin for people.")
    ] = 80,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Sort with eyes that know the truth: the arm's own limit.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What the model is called at the server.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="GROUNDUP_KEY", help="The server's key, if it asks for one.")
    ] = None,
    page: Annotated[
        bool,
        typer.Option(
            "--page", help="Show the line at work in a page that takes orders, as fast as a real one, until Ctrl-C."
        ),
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the page; left out: any that is free.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder to record the episode in, in the layout of LeRobot data sets.")
    ] = None,
    device: DeviceName = None,
    as_json: Json = False,
) -> None:
    """Sort waste on the simulated line with a model as the brain, and print the figures."""
    from groundup.core.extras import require

    require("sorter")
    if page:
        require("serve")
    from groundup.apps.sorter.command import Options
    from groundup.apps.sorter.command import sort as work
    from groundup.apps.sorter.figures import lines
    from groundup.pipeline.finished import model_folder

    figures = work(
        Options(model, oracle, name, key, items, setting, seed, sure, record, page, port, device), model_folder
    )
    show(as_json, figures, lines(figures))
