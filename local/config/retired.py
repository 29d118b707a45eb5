"""Keys of older versions: a file or checkpoint that has one still loads, with a warning."""

import logging

from local.config.yaml_files import RawConfig

logger = logging.getLogger(__name__)

# Reason by key.
RETIRED = {"data.packed": "no longer used"}


def drop_retired(raw: RawConfig) -> RawConfig:
    """A copy without retired keys; logs one warning for each of them."""
    values = dict(raw.values)
    for path, reason in RETIRED.items():
        section, key = path.split(".")
        content = values.get(section)
        if isinstance(content, dict) and key in content:
            logger.warning("%s: %s: %s: ignored", raw.place((section, key)), path, reason)
            values[section] = {name: value for name, value in content.items() if name != key}
    return RawConfig(values, raw.source, raw.places)
