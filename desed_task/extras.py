"""Packages of the optional extras."""

from importlib import import_module
from types import ModuleType

from desed_task.errors import InputError


def import_extra(extra: str, *packages: str) -> ModuleType:
    """The last of the packages, all imported.

    Raises InputError where one is not installed, with the extra of this project that has them.
    """
    try:
        return [import_module(package) for package in packages][-1]
    except ImportError as error:
        raise InputError(
            f"{error.name or packages[-1]}: is not installed: pip install 'desed_task[{extra}]' or "
            f"pip install {' '.join(packages)}"
        ) from None
