"""The warning about recordings whose band is narrower than the model's."""

import logging
from collections.abc import Mapping

from desed_task.errors import shortened

logger = logging.getLogger(__name__)


def warn_of_narrow_bands(bands_hz: Mapping[str, float], upper_hz: float) -> None:
    """Log one warning that names the recordings with a band below that of the model.

    Args:
        bands_hz: bandwidth of recordings by name.
        upper_hz: highest frequency that the model reads.
    """
    narrow = {name: hz for name, hz in bands_hz.items() if hz < upper_hz}
    if narrow:
        logger.warning(
            "%d recordings have a narrower band than the %g Hz that the model reads, so that "
            "events may be missing: %s",
            len(narrow),
            upper_hz,
            shortened(f"{name} ({hz:.0f} Hz)" for name, hz in narrow.items()),
        )
