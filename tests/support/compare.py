"""Comparisons that several test files make."""

from collections.abc import Mapping

import torch
from torch import Tensor


def assert_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Same names, and tensors that are equal to the last bit."""
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
