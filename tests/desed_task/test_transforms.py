"""A torchaudio that cannot be imported."""

import importlib
import sys

import pytest

from desed_task import transforms
from desed_task.errors import InputError


def test_a_torchaudio_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio.transforms", None)  # its import fails
    with pytest.raises(InputError, match=r"^torchaudio: .*whl/cpu") as caught:
        importlib.reload(transforms)
    assert len(str(caught.value).splitlines()) == 1
