"""An application that sets the garbage collector itself; its tasks are those of ``app``."""

import gc

from tests.worker import app as app

gc.set_threshold(1_234)
