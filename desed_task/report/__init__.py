"""The evaluation report: one or more systems side by side, as a page and as Markdown."""

from desed_task.report.page import write_report
from desed_task.report.parts import ReportSystem, SodResult

__all__ = ["ReportSystem", "SodResult", "write_report"]
