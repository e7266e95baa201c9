"""The names of the formats; apart from their code, so that the command line's help loads none of it."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    MARKDOWN = "markdown"
    PARQUET = "parquet"
    """Of reports and their events alone; binary."""
