"""torchaudio's transforms, and one line where torchaudio does not fit PyTorch."""

import torch

from desed_task.errors import InputError

try:
    from torchaudio.transforms import MelSpectrogram, Resample
except (ImportError, OSError, RuntimeError) as error:  # missing, or built for another CUDA
    raise InputError(
        f"torchaudio: expected a build that fits torch {torch.__version__}, got: "
        f"{(str(error).splitlines() or ['no message'])[0]}; without a GPU install both with "
        "--index-url https://download.pytorch.org/whl/cpu (README, Install)"
    ) from None

__all__ = ["MelSpectrogram", "Resample"]
