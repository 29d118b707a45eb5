"""Picture of one validation clip: log-mel, and the output of both networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from desed_task.dataio.batch import Batch, ClipKind
from desed_task.drawing.canvas import image_png
from desed_task.drawing.clip_pictures import (
    Panel,
    Row,
    Spectrogram,
    Strip,
    choose_rows,
    class_spans,
    draw_clip,
)
from desed_task.drawing.style import nth_colour
from desed_task.evaluation.decode import detect_many, frame_times
from desed_task.files import write_file
from desed_task.nnet.crnn import SEDOutput
from desed_task.sod import SOD_STATE_NAMES
from local.config.load import Config

Prediction = tuple[Tensor, dict[str, SEDOutput]]
"""Scaled log-mel `(batch, bands, frames)`, and outputs by the network's name."""


class ClipPicture:
    """Picture of the first clip, or window of a clip, that has frame labels and an event."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._clip = ""
        self._strip: Strip | None = None

    def offer(self, batch: Batch, predict: Callable[[], Prediction]) -> None:
        """Take a suitable clip of the batch, unless a clip was taken before.

        Args:
            batch: clips and their frame targets.
            predict: returns the features of the batch and the outputs of the networks.
        """
        if self._strip is not None:
            return
        has_event = (batch.targets.amax(dim=(1, 2)) > 0).cpu()
        suitable = batch.is_kind(ClipKind.SYNTHETIC) & has_event
        if not suitable.any():
            return
        row = int(suitable.nonzero()[0])
        features, outputs = predict()
        self._clip = batch.names[row]
        grid, feats = self._config.grid, self._config.feats
        begin = batch.first_frames[row] * grid.frame_seconds if batch.first_frames else 0.0
        spectrogram = Spectrogram(
            _array(features[row]), feats.f_min, feats.f_max, grid.clip_seconds
        )
        panels = self._panels(row, batch, outputs, begin)
        self._strip = Strip(begin, begin + grid.clip_seconds, panels, spectrogram)

    def _panels(
        self, row: int, batch: Batch, outputs: dict[str, SEDOutput], begin: float
    ) -> list[Panel]:
        """Each network's scores with the true events behind them, and its number of sounds."""
        true = _array(batch.targets[row])
        edges = begin + frame_times(self._config.grid, true.shape[1])
        true_events = detect_many(true[None], [0.5], edges)
        scores = {name: _array(output.strong[row]) for name, output in outputs.items()}
        highest = np.maximum.reduce(list(scores.values())).max(axis=1)
        labels, hidden = choose_rows(true.max(axis=1), highest)
        classes = self._config.data.classes
        panels = []
        for number, (name, output) in enumerate(outputs.items()):
            rows = [
                Row(
                    name=classes[label],
                    true=class_spans(true_events, label),
                    scores=scores[name][label],
                )
                for label in labels
            ]
            colour = nth_colour(number)
            panels.append(Panel(f"{name}: scores; grey: true events{hidden}", rows, colour, edges))
            if output.sod_logits is not None:
                states = _array(output.sod_logits[row].float().softmax(dim=-1).T)
                named = zip(SOD_STATE_NAMES, states, strict=True)
                rows = [Row(name=state, scores=values) for state, values in named]
                title = f"{name}: probability of the number of sounds"
                panels.append(Panel(title, rows, colour, edges))
        return panels

    def write(self, module: Any) -> None:
        """Write the picture to `pictures/` in the run's folder, and to TensorBoard.

        Nothing is written if no clip was suitable.

        Args:
            module: the Lightning module, for its loggers, epoch and step.
        """
        if self._strip is None:
            return
        image = draw_clip([self._strip], self._clip, width=9)
        for logger in module.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    "validation clip",
                    np.asarray(image.convert("RGB")),
                    module.global_step,
                    dataformats="HWC",
                )
        if module.logger is not None:
            folder = Path(module.logger.log_dir) / "pictures"
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / f"epoch_{module.current_epoch:04d}.png", image_png(image))


def _array(tensor: Tensor) -> Any:
    """A tensor's values in float32."""
    return tensor.float().cpu().numpy()
