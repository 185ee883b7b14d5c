"""Before a deploy: which unfinished jobs of a database the code at hand could not run, and why. It only reads."""

from uno_jobs.deploy.checking import check_jobs
from uno_jobs.deploy.report import Kind, Problem, Report

__all__ = ["Kind", "Problem", "Report", "check_jobs"]
