"""The evaluation report: one or more systems side by side, as a page and as Markdown."""

from desed_task.report.page import write_report
from desed_task.report.parts import ReportSystem, SodResult
from desed_task.report.roc_pictures import write_psd_rocs

__all__ = ["ReportSystem", "SodResult", "write_psd_rocs", "write_report"]
