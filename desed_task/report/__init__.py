"""The evaluation report: one or more systems side by side on one HTML page with pictures.

Each section of the page has its own module: numbers, picture, tables, and the function that makes
the section.
"""

from desed_task.report.page import write_page, write_report
from desed_task.report.psd_roc import write_psd_rocs
from desed_task.report.systems import ReportSystem

__all__ = ["ReportSystem", "write_page", "write_psd_rocs", "write_report"]
