"""Personal data: ids that stand for people replaced on loading, and what a text gives away found."""

from __future__ import annotations

from collections.abc import Iterable


def pseudonymise(ids: Iterable[str], prefix: str = "w", digits: int = 3) -> list[str]:
    """The ids numbered in order of first appearance: "A2K5ICP…" becomes "w001" wherever it stands.

    Nothing leads back from the numbers to the ids without the original file. More ids than the digits hold get
    longer numbers.
    """
    numbers: dict[str, int] = {}
    return [f"{prefix}{numbers.setdefault(name, len(numbers) + 1):0{digits}d}" for name in ids]
