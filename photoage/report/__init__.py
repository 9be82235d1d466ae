"""`photoage report`: everything found, as one HTML page that needs nothing but itself."""

from photoage.report.build import ReportSummary, write_report

__all__ = ["ReportSummary", "write_report"]
