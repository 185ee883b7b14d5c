"""An application that wants no garbage collector; its tasks are those of ``app``."""

import gc

from tests.worker import app as app

gc.disable()
