"""Limits of memory and CPU for jobs in child processes: held from outside, helped from inside, and measured."""
