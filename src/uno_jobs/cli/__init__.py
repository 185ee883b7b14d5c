"""The command ``uno-jobs``: what it runs, and how it fails."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT: Final = 2
FAILED: Final = 1


def main() -> None:
    """Run the command with the process's arguments and end the process."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the command's own name; the process's unless given.

    Returns:
        The exit status: 0 for success, 2 for bad input, else 1. What went wrong is a sentence on standard error.
    """
    from uno_jobs.cli.app import app
    from uno_jobs.errors import UnoJobsError

    try:
        app(args=arguments, prog_name="uno-jobs")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else FAILED
    except UnoJobsError as error:
        print(f"uno-jobs: {error}", file=sys.stderr)  # noqa: T201 - this is the command's voice
        return status_of(error)
    return 0


def status_of(error: Exception) -> int:
    """Return the exit status for an expected error."""
    from uno_jobs import errors

    bad_input = (
        errors.ConfigurationError,
        errors.InvalidArguments,
        errors.InvalidOption,
        errors.JobNotFound,
        errors.NotSerializable,
        errors.PayloadTooLarge,
        errors.QueueNotFound,
        errors.TaskNotFound,
    )
    return BAD_INPUT if isinstance(error, bad_input) else FAILED
