"""The worker process: claims jobs, runs them, records how they ended."""
