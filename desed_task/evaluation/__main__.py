"""The command `python -m desed_task.evaluation`: evaluate any system and write its report.

The command lies beside the page that it makes, `desed_task/report/__main__.py`, above this package:
metrics import no report.
"""

import runpy

runpy.run_module("desed_task.report", run_name="__main__", alter_sys=True)
