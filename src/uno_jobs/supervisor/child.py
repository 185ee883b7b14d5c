"""Runs a module in a process that gets a signal when its parent dies: ``python -m uno_jobs.supervisor.child``.

Asked for by the child itself, before it does anything else: between fork and exec no Python code may safely run.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Final

ORPHANED: Final = 4
"""Exit status of a child whose parent was gone before it could say so."""
_PR_SET_PDEATHSIG: Final = 1


def command(module: str, *, signal_: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command line that runs a module so, as a child of this process.

    The current folder is not put on the path: an application's file must not stand in for a module of ours.
    """
    return [sys.executable, "-P", "-m", __name__, str(int(signal_)), str(os.getpid()), module]


def main() -> None:
    """Arrange for the signal where the system can send it (Linux), then become the module."""
    signal_, parent, module = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(ORPHANED)
    sys.argv[:] = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
