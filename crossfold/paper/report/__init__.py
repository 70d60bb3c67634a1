"""One page about a run that opens without a network: report.html."""

from crossfold.paper.report.page import write_report

__all__ = ["write_report"]
