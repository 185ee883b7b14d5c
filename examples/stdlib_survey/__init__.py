"""A survey of the Python standard library: one job a file, enqueued together with the rows it belongs to."""
