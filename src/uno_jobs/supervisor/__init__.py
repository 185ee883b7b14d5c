"""The small parent process: starts the worker processes, watches over them, and says that they live."""
