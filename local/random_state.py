"""The state of every random generator a run draws from, as values a checkpoint may hold."""

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators; leaves no trace in the environment.

    Lightning's function of this name does: under DDP, numbers are then drawn a second time.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one
    torch.manual_seed(seed)


def random_state(generator: torch.Generator) -> dict[str, Any]:
    """State of Python's, NumPy's and PyTorch's generators and of the given one.

    Plain lists, numbers and tensors only, so that loading it needs no code.
    """
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one is kept
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    return {
        "python": [version, list(internal), gauss],
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "augment": generator.get_state(),
    }


def restore_random_state(state: dict[str, Any], generator: torch.Generator) -> None:
    """Set every generator as `random_state` found it (GPUs: as many as there are)."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state = dict(state["numpy"])
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    numpy_state["state"] = dict(numpy_state["state"]) | {"key": key}
    np.random.set_state(numpy_state)  # noqa: NPY002 - the global one is restored
    torch.set_rng_state(state["torch"].cpu())
    available = torch.cuda.device_count()
    torch.cuda.set_rng_state_all([tensor.cpu() for tensor in state["cuda"][:available]])
    generator.set_state(state["augment"].cpu())
