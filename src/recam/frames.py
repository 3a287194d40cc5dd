"""Tables of results as pandas DataFrames, for those who have pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recam.errors import DependencyError


def as_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """A ``pandas.DataFrame`` of rows by column name.

    Args:
        columns: in their order; also where there are no rows.

    Raises:
        DependencyError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise DependencyError("a DataFrame needs pandas: pip install pandas.") from error
    return pandas.DataFrame([dict(row) for row in rows], columns=list(columns))
