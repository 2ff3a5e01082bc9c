"""Exit statuses of the ``penstock`` commands."""

OK = 0
FAILURE = 1
USAGE = 2
"""As argparse has it."""
BIND = 3
NO_MODEL = 4
SIGNAL = 128
"""And the signal's number, as a shell has it."""
