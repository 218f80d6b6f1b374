"""Exceptions that end a command early and are not errors of the program."""


class InputError(Exception):
    """Invalid input: one sentence with the file, line or key, the value found, and the remedy.

    The command line prints it and exits with code 2; no half-written file is left.
    """


class Interrupted(Exception):
    """Stopped by the user; all work done so far is saved."""
