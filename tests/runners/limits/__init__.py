"""Tests of limits, on plain processes."""
