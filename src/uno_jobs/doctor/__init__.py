"""The doctor: what is wrong with a database of uno-jobs, or soon will be, and what to do. It only reads."""

from uno_jobs.doctor.examination import examine
from uno_jobs.doctor.finding import Finding, Report, Status
from uno_jobs.doctor.limits import Limits
from uno_jobs.doctor.registry import check_names

__all__ = ["Finding", "Limits", "Report", "Status", "check_names", "examine"]
