"""Reads CDI files, JSON or YAML, and skips with a word in the log those that are none: one driver's bad file must not stop another's
pods."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)

LARGEST = 4 * 1024 * 1024


def read(directory: Path) -> list[Mapping[str, Any]]:
    """Every CDI spec of the directory, by file name. Blocks on the disk."""
    specs = []
    for path in sorted(directory.glob("*")):
        if path.suffix not in (".json", ".yaml", ".yml") or path.name.startswith("."):
            continue
        try:
            with path.open("rb") as file:
                data = _decode(path, file.read(LARGEST))
        except FileNotFoundError:
            continue  # unprepared between the listing and now
        except (OSError, ValueError) as error:
            log.warning("CDI file %s is left out: %s", path, error)
            continue
        if isinstance(data, Mapping):
            specs.append(data)
        else:
            log.warning("CDI file %s is left out: it holds no object", path)
    return specs


def _decode(path: Path, data: bytes) -> Any:
    if path.suffix == ".json":
        return msgspec.json.decode(data)
    import yaml

    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from None
