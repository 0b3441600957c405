"""Personal data: ids that stand for people replaced on loading, and what a table gives away of people found."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pandas as pd

from cift.files import one_message

if TYPE_CHECKING:
    from datasets import Dataset


def pseudonymise(ids: Iterable[str], prefix: str = "w", digits: int = 3) -> list[str]:
    """The ids numbered in order of first appearance: "A2K5ICP…" becomes "w001" wherever it stands.

    Nothing leads back from the numbers to the ids without the original file. More ids than the digits hold get
    longer numbers. Raises InputError for missing ids: nobody must come of them.
    """
    ids = list(ids)
    numbers: dict[str, int] = {}
    absent = [f"number {i} is {name!r}" for i, name in enumerate(ids, 1) if pd.isna(name) or not str(name).strip()]
    if absent:
        raise one_message("ids", absent, "Leave out what has no id, or give it one")
    return [f"{prefix}{numbers.setdefault(name, len(numbers) + 1):0{digits}d}" for name in ids]


def personal_data(source: pd.DataFrame | Dataset) -> pd.DataFrame:
    """What looks like personal data: one row a find, with row, column, kind and the find, cut to its first two letters.

    source: a corpus, or any table (answers as they came from the platform): every column, and every level of the index
    that has a name, as the respondents in a table of responses. row: the table's index if that is called "row" (lines
    of the file, from `read_table`), else the position from 1.

    In the text: e-mail, url with a user's name, IBAN and payment card (with right check digits), US social security
    number, phone (with a +, a leading 0, or grouped as in the US), IP address, coordinates (of four decimals, or
    degrees and minutes), @handle, worker ids of Mechanical Turk and Prolific. By their names: columns of names,
    e-mails, phones, addresses, births, places and IP addresses, one row a column, without a row number.

    Patterns find what has a form. Names, streets, employers and stories have none: finding those takes a named-entity
    model and a reader, and no find here does not mean that there is nothing. Bare runs of digits (postcodes, phones
    without grouping) are left alone, because years, prices and ids look alike.
    """
    table = source if isinstance(source, pd.DataFrame) else source.to_pandas()
    rows = table.index if table.index.name == "row" else range(1, len(table) + 1)
    levels = [(name, table.index.get_level_values(i)) for i, name in enumerate(table.index.names)]
    finds = []
    for column, cells in [*(level for level in levels if level[0] not in (None, "row")), *table.items()]:
        if _TELLING_COLUMN.fullmatch(str(column)):
            finds.append((None, column, "column name", f"{cells.notna().sum()} values"))
        for row, cell in zip(rows, cells, strict=True):
            if not isinstance(cell, float):
                finds += [(row, column, kind, _masked(text)) for kind, text in _finds(str(cell))]
    return pd.DataFrame(finds, columns=["row", "column", "kind", "found"]).astype({"row": "Int64"})


def _masked(text: str) -> str:
    return f"{text[:2]}… ({len(text)} characters)"


def _finds(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each find; what one kind has taken is not searched for the next."""
    if not _HINT.search(text):
        return
    for kind, pattern, valid in _KINDS:
        for match in pattern.finditer(text):
            if valid(match.group()):
                yield kind, match.group()
                text = f"{text[: match.start()]}{' ' * len(match.group())}{text[match.end() :]}"


# check digits and ranges


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1): with every second digit from the right doubled, all digits add up to tens."""
    digits = [int(digit) for digit in reversed(_digits(text))]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 13616: the first four characters moved to the end, letters as 10 to 35, leave 1 when divided by 97."""
    compact = text.replace(" ", "")
    moved = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_place(text: str) -> bool:
    latitude, longitude = (float(part) for part in re.split(r"[,;]", text))
    return abs(latitude) <= 90 and abs(longitude) <= 180


def _anything(_: str) -> bool:
    return True


def _is_phone(text: str) -> bool:
    return 8 <= len(_digits(text)) <= 15  # E.164 allows 15


_HINT = re.compile(r"[@\d]")  # every kind has one of these, few sentences do
_TELLING_COLUMN = re.compile(
    r"(first|last|full|family|sur|recipient|respondent|worker|user)*[ _-]?(first|last)?[ _-]?name|(recipient)?e?-?mail"
    r"([ _-]?address)?|(tele)?phone([ _-]?number)?|(street|home|postal)?[ _-]?address|(date[ _-]?of[ _-]?)?birth"
    r"([ _-]?(date|day|year))?|dob|ip([ _-]?address)?|(location)?[ _-]?(lat|latitude|lon|lng|longitude)",
    re.IGNORECASE,
)
_KINDS: list[tuple[str, re.Pattern, Callable[[str], bool]]] = [
    (kind, re.compile(pattern), valid)
    for kind, pattern, valid in (
        ("url with user", r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/@]+@[\w-]+(?:\.[\w-]+)*(?:[:/][^\s,;)]*)?", _anything),
        ("e-mail", r"\b[\w.+-]{1,64}@(?:[\w-]+\.)+[A-Za-z]{2,}\b", _anything),
        ("IBAN", r"\b[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)\b", _is_iban),
        (
            "payment card",  # Visa, Mastercard, Discover; American Express
            r"(?<![\d.-])(?:(?:4\d|5[1-5]|2[2-7]|6[045])\d{2}(?:[ -]?\d{4}){3}"
            r"|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?![\d-])",
            _is_card,
        ),
        ("social security number", r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])", _anything),
        (
            "phone",
            r"(?<![\w+.])\+[1-9]\d{0,2}(?:[ ./-]?(?:\(\d{1,5}\)|\d{1,5})){2,6}(?!\w)"
            r"|(?<![\w.-])(?<!\d )0\d{1,4}[ /-]\d{3,4}[ -]?\d{3,4}(?![\w-])"
            r"|(?<![\w.-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}(?![\w-])",
            _is_phone,
        ),
        (
            "IP address",
            r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6})(?![\w:]|\.\d)",
            _is_address,
        ),
        (
            "coordinates",
            r"(?<![\w.,;-])(?<![,;] )-?\d{1,2}\.\d{4,}\s?[,;]\s?-?\d{1,3}\.\d{4,}(?!\d|\s?[,;]\s?-?\d)",
            _is_place,
        ),
        ("coordinates", r"\b\d{1,2}\s?°\s?\d{1,2}(?:\.\d+)?\s?['′’][^A-Za-z]{0,8}[NS]\b", _anything),
        ("handle", r"(?<![\w.@/])@[A-Za-z_]\w{2,29}\b", _anything),
        ("Mechanical Turk id", r"\bA(?=[A-Z]*\d)[A-Z0-9]{12,14}\b", _anything),
        ("Prolific id", r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{24}\b", _anything),
    )
]
