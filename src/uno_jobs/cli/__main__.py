"""Runs the command as ``python -m uno_jobs.cli``, where the script ``uno-jobs`` is not on the path."""

from __future__ import annotations

from uno_jobs.cli import main

main()
