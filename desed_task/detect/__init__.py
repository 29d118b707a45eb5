"""Sound events of any recording by a model: files of any length, arrays, streams."""

from desed_task.detect.detector import Detector, Result
from desed_task.detect.settings import Settings
from desed_task.detect.stream import EventStream

__all__ = ["Detector", "EventStream", "Result", "Settings"]
