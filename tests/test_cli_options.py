"""The command line's surface is frozen: every command, argument and option is listed in `cli_options.txt`."""

from collections.abc import Iterator
from pathlib import Path

import typer

from groundup.cli import app

LISTED = Path(__file__).with_name("cli_options.txt")


def surface() -> Iterator[str]:
    """A line a parameter: the command, its argument or option with its flags, and its default."""
    for name, command in sorted(typer.main.get_command(app).commands.items()):
        for parameter in command.params:
            flags = " ".join([*parameter.opts, *parameter.secondary_opts])
            yield f"{name} {flags if flags.startswith('-') else flags.upper()} = {parameter.default!r}".replace(
                "PosixPath", "Path"
            )


def test_no_command_or_option_is_added_or_lost_unseen() -> None:
    """To change the surface on purpose: `python -m tests.test_cli_options > tests/cli_options.txt`, and say why in the
    commit.
    """
    assert list(surface()) == LISTED.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    print(*surface(), sep="\n")
