"""What ends a command early and is no fault of the program."""


class InputError(Exception):
    """Input that cannot be used: one sentence with the file, line or key, what is there, and the remedy.

    The command line prints it and exits with code 2; nothing half-written is left behind.
    """


class Interrupted(Exception):
    """Stopped by the user; all work done so far is saved."""
