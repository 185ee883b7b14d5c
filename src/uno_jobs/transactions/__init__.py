"""A job's own transaction: its writes, what it enqueues and its success in one commit (``job.transaction()``)."""
