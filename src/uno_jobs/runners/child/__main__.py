"""A child process, as a worker starts it: ``python -m uno_jobs.runners.child``, configured by the environment."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Final

from uno_jobs.errors import UnoJobsError
from uno_jobs.logs import configure_logging
from uno_jobs.runners.child.protocol import ENVIRONMENT, ChildConfig, encode
from uno_jobs.runners.child.serving import Server
from uno_jobs.tasks.discovery import discover_tasks

UNABLE: Final = 3
"""Exit status of a child that cannot import the application."""


def main() -> int:
    """Import the application, and run jobs of its tasks; returns the exit status."""
    config = ChildConfig.from_json(os.environ.pop(ENVIRONMENT))
    sock = socket.socket(fileno=config.fd)
    sock.set_inheritable(False)
    configure_logging(config.log_format, config.log_level)
    sys.path[:] = config.path
    try:
        discover_tasks(config.modules)
    except UnoJobsError as error:
        logging.getLogger("uno_jobs.child").debug("the application does not import", exc_info=True)
        sock.sendall(encode({"say": "unable", "error": str(error)}))
        return UNABLE
    Server(config, sock).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
