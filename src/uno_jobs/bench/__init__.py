"""Measures uno-jobs on a database at hand, each figure beside what bare SQL does there: ``uno-jobs bench``."""
