"""A picture of one validation clip: what was heard, what is true, what both networks say."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger

from desed_task.dataio.batch import Batch, ClipKind
from desed_task.labels import SOD_STATE_NAMES
from desed_task.nnet.crnn import SEDOutput
from desed_task.report.drawing import new_figure, to_image
from local.classes import CLASSES
from local.config.load import Config


class ClipPicture:
    """Takes the first strongly labelled clip with an event that it is offered, and draws it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._name = ""
        self._log_mel: NDArray[np.float32] | None = None
        self._rolls: dict[str, NDArray[np.float32]] = {}

    def offer(self, batch: Batch, features: Any, outputs: dict[str, SEDOutput]) -> None:
        """Keep a clip of the batch if none is kept yet and one has frame labels."""
        if self._log_mel is not None:
            return
        has_event = (batch.targets.amax(dim=(1, 2)) > 0).cpu()
        suitable = batch.is_kind(ClipKind.SYNTHETIC) & has_event
        if not suitable.any():
            return
        row = int(suitable.nonzero()[0])
        self._name = batch.names[row]
        self._log_mel = features[row].float().cpu().numpy()
        self._rolls["true events"] = batch.targets[row].cpu().numpy()
        for name, output in outputs.items():
            self._rolls[f"{name}: scores"] = output.strong[row].float().cpu().numpy()
            if output.sod_logits is not None:
                states = output.sod_logits[row].float().softmax(dim=-1)
                self._rolls[f"{name}: number of sounds"] = states.T.cpu().numpy()

    def write(self, module: Any) -> None:
        """Save the picture beside the run's logs, and hand it to TensorBoard."""
        if self._log_mel is None:
            return
        image = to_image(self._draw(self._log_mel))
        for logger in module.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    "validation clip", np.asarray(image), module.global_step, dataformats="HWC"
                )
        if module.logger is not None:
            folder = Path(module.logger.log_dir) / "pictures"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"epoch_{module.current_epoch:04d}.png")

    def _draw(self, log_mel: NDArray[np.float32]) -> Any:
        heights = [3.0, *(1.0 if "number" in name else 2.2 for name in self._rolls)]
        figure = new_figure(1.0 + 0.75 * sum(heights), width=9)
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        seconds = self._config.data.audio_max_len
        top = axes[0].imshow(
            log_mel,
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, seconds, 0, len(log_mel)),
        )
        axes[0].set(title=self._name, ylabel="mel band")
        figure.colorbar(top, ax=axes[0], label="scaled log-mel", pad=0.01)
        for axis, (name, roll) in zip(axes[1:], self._rolls.items(), strict=True):
            labels = CLASSES if len(roll) == len(CLASSES) else SOD_STATE_NAMES
            probabilities = axis.imshow(
                roll,
                aspect="auto",
                interpolation="nearest",
                cmap="viridis",
                vmin=0,
                vmax=1,
                extent=(0, seconds, len(roll) - 0.5, -0.5),
            )
            axis.set_yticks(range(len(roll)), labels, fontsize=7)
            axis.set_title(name, fontsize=9, loc="left")
        figure.colorbar(probabilities, ax=list(axes[1:]), label="probability", pad=0.01)
        axes[-1].set_xlabel("time in seconds")
        return figure
