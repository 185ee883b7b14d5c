"""The supervisor, as the command starts it: ``python -m uno_jobs.supervisor``, configured by the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from uno_jobs.errors import UnoJobsError
from uno_jobs.logs import configure_logging
from uno_jobs.supervisor.supervisor import REFUSED, Supervisor
from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig


def main() -> int:
    """Supervise until all workers have ended; returns the exit status."""
    config = SupervisorConfig.from_json(os.environ[ENVIRONMENT])
    configure_logging(config.worker.log_format, config.worker.log_level)
    try:
        return asyncio.run(Supervisor(config).run())
    except UnoJobsError as error:
        logging.getLogger("uno_jobs.supervisor").error("the supervisor cannot start: %s", error)
        return REFUSED


if __name__ == "__main__":
    sys.exit(main())
