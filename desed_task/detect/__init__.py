"""Sound events of any recording by a model: files of any length, arrays, streams."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from desed_task.detect.detector import Detector, Result
    from desed_task.detect.settings import Settings
    from desed_task.detect.stream import EventStream

__all__ = ["Detector", "EventStream", "Result", "Settings"]

_MODULES = {
    "Detector": "detector",
    "EventStream": "stream",
    "Result": "detector",
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is used: the command sets variables before torch is there."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
