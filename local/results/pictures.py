"""Picture of one validation clip: spectrogram, true events, and the output of both networks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from desed_task.dataio.batch import Batch, ClipKind
from desed_task.drawing.style import class_text, new_figure, plain, to_image
from desed_task.files import atomic_write
from desed_task.nnet.crnn import SEDOutput
from desed_task.sod import SOD_STATE_NAMES
from local.config.load import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Prediction = tuple[Tensor, dict[str, SEDOutput]]
"""Scaled log-mel `(batch, bands, frames)`, and outputs by the network's name."""
MAX_CLASSES = 16  # in a panel


class Panel(NamedTuple):
    """Probabilities over time `(rows, frames)`, the names of the rows, and a height in inches."""

    title: str
    probabilities: NDArray[np.float32]
    row_names: Sequence[str]
    height: float


def choose_classes(
    true_events: NDArray[np.floating], scores: NDArray[np.floating], most: int = MAX_CLASSES
) -> list[int]:
    """Indices of at most `most` classes: true ones first, then those with the highest scores.

    Args:
        true_events: `(classes, frames)`.
        scores: `(classes, frames)`.
        most: number of classes.
    """
    ranked = np.lexsort((-scores.max(axis=1), -true_events.max(axis=1)))
    return sorted(ranked[:most].tolist())


class ClipPicture:
    """Picture of the first clip, or window of a clip, that has frame labels and an event."""

    def __init__(self, config: Config) -> None:
        self._grid = config.grid
        self._classes = config.data.classes
        self._begin = 0.0
        self._clip = ""
        self._log_mel: NDArray[np.float32] | None = None
        self._panels: list[Panel] = []

    def offer(self, batch: Batch, predict: Callable[[], Prediction]) -> None:
        """Take a suitable clip of the batch, unless a clip was taken before.

        Args:
            batch: clips and their frame targets.
            predict: returns the features of the batch and the outputs of the networks.
        """
        if self._log_mel is not None:
            return
        has_event = (batch.targets.amax(dim=(1, 2)) > 0).cpu()
        suitable = batch.is_kind(ClipKind.SYNTHETIC) & has_event
        if not suitable.any():
            return
        row = int(suitable.nonzero()[0])
        features, outputs = predict()
        self._clip = batch.names[row]
        if batch.first_frames:
            self._begin = batch.first_frames[row] * self._grid.frame_seconds
        self._log_mel = features[row].float().cpu().numpy()
        true_events = batch.targets[row].cpu().numpy()
        scores = {name: each.strong[row].float().cpu().numpy() for name, each in outputs.items()}
        shown = choose_classes(true_events, np.maximum.reduce(list(scores.values())))
        n_hidden = len(self._classes) - len(shown)
        hidden = f" (not drawn: {n_hidden} classes with lower scores)" if n_hidden else ""
        height = max(0.75, 0.165 * len(shown))
        names = [self._classes[index] for index in shown]
        self._panels.append(Panel(f"true events{hidden}", true_events[shown], names, height))
        for name, output in outputs.items():
            self._panels.append(Panel(f"{name}: scores", scores[name][shown], names, height))
            if output.sod_logits is not None:
                states = output.sod_logits[row].float().softmax(dim=-1).T.cpu().numpy()
                title = f"{name}: number of sounds"
                self._panels.append(Panel(title, states, SOD_STATE_NAMES, 0.75))

    def write(self, module: Any) -> None:
        """Write the picture to `pictures/` in the run's folder, and to TensorBoard.

        Nothing is written if no clip was suitable.

        Args:
            module: the Lightning module, for its loggers, epoch and step.
        """
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
            with atomic_write(folder / f"epoch_{module.current_epoch:04d}.png") as partial:
                image.save(partial, format="png")

    def _draw(self, log_mel: NDArray[np.float32]) -> "Figure":
        begin, end = self._begin, self._begin + self._grid.clip_seconds
        heights = [2.25, *(panel.height for panel in self._panels)]
        figure = new_figure(1.0 + sum(heights), width=9)
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        spectrogram = axes[0].imshow(
            log_mel,
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(begin, end, 0, len(log_mel)),
        )
        axes[0].set(title=plain(self._clip, 60), ylabel="mel band")
        figure.colorbar(spectrogram, ax=axes[0], label="scaled log-mel", pad=0.01)
        for axis, panel in zip(axes[1:], self._panels, strict=True):
            n_rows = len(panel.row_names)
            image = axis.imshow(
                panel.probabilities,
                aspect="auto",
                interpolation="nearest",
                cmap="viridis",
                vmin=0,
                vmax=1,
                extent=(begin, end, n_rows - 0.5, -0.5),
            )
            axis.set_yticks(
                range(n_rows), [class_text(name) for name in panel.row_names], fontsize=7
            )
            axis.set_title(panel.title, fontsize=9, loc="left")
        figure.colorbar(image, ax=list(axes[1:]), label="probability", pad=0.01)
        axes[-1].set_xlabel("time in seconds")
        return figure
