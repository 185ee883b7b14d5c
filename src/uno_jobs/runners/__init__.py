"""Running one job: its order, its verdict, its hooks, on the event loop or on a thread."""
