"""Keys that older versions had: a file or checkpoint with one still loads, with a note."""

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

RETIRED = {"data.packed": "no longer used"}
"""Reason by key."""


def drop_retired(raw: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The sections without retired keys; one warning for each of them."""
    kept = dict(raw)
    for path, reason in RETIRED.items():
        section, key = path.split(".")
        if isinstance(kept.get(section), Mapping) and key in kept[section]:
            logger.warning("%s: %s: %s: ignored", source, path, reason)
            kept[section] = {name: value for name, value in kept[section].items() if name != key}
    return kept
