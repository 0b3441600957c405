"""Tables from other people's tools: wide answer files in any usual dialect, and item banks as plain CSV.

An answer file has one row a respondent and one column an item. Its separator is found; quotes, byte order marks, CRLF
and the usual spellings of a missing answer are understood. What could mean two things is refused, with a remedy.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cift import crowds
from cift.errors import InputError
from cift.files import delimiter_of, one_message, parse_csv, read_text, write_text
from cift.irt import PARAMETERS, ItemBank

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", ".", "-")  # in any case; 9 or -99 is for the user to name
ID_NAMES = ("", "id", "user", "userid", "user_id", "respondent", "person", "participant", "subject", "student")
_SCORED = re.compile(r"([01])([.,]0*)?")
_WHOLE = re.compile(r"(-?\d+)[.,]0+")
_REFUSED = object()
_NUMBERS = {"bank": [*PARAMETERS, *(f"{name}_se" for name in PARAMETERS)]}
_NUMBERS["nominal"] = ["slope", "intercept", "slope_se", "intercept_se"]


# answers


def read_scored(path: str | Path, items: Collection[str] | None = None, missing: Sequence[str] = ()) -> pd.DataFrame:
    """Answers scored right or wrong: respondents x items, cells 1.0, 0.0 or NaN.

    The first column holds the respondents' ids, unless it holds nothing but 0, 1 and missing cells and its header is
    not one that ids have (ID_NAMES): then it is an item, and the respondents are numbered from 1.

    items: read these columns only, as many as there are; the first column is then an item if it is one of them.
    missing: spellings of a missing cell beyond those of MISSING.

    Warns of respondents without an answer, of numbered respondents and of columns left out. InputError, one message:
    other cells, repeated or empty ids, rows of another length, no items, a file that cannot be read.
    """
    spelt = {word.casefold() for word in (*MISSING, *missing)}

    def values(cells: Sequence[str]) -> list:
        found = ((cell.casefold() in spelt, _SCORED.fullmatch(cell)) for cell in cells)
        return [np.nan if absent else float(match[1]) if match else _REFUSED for absent, match in found]

    remedy = (
        "An answer is 1 (right), 0 (wrong) or empty (missing): take out columns that are no items, name a code for "
        "missing answers with --missing, and score raw labels with --gold"
    )
    return _read(Path(path), values, items, remedy).astype(float)


def read_labels(
    path: str | Path, labels: Collection[str], known: Collection[str], only: bool = False, missing: Sequence[str] = ()
) -> pd.DataFrame:
    """Raw answers: respondents x items, cells labels or None.

    labels: the labels that are known, the gold ones. Case does not matter, and where only one label begins with it an
        initial will do. Other labels are kept: they are wrong answers.
    known: the items that are known. The first column holds ids unless it is one of them.
    only: read the known columns only. missing: as for `read_scored`; a known label is never a missing cell.

    Warns and raises as `read_scored` does; also warns of labels that are not known, which may be misspelt, and raises
    InputError where no answer has a known label, or an initial may mean two.
    """
    path = Path(path)
    spelt = {word.casefold() for word in (*MISSING, *missing)} - {label.casefold() for label in labels}

    def values(cells: Sequence[str]) -> list:
        given = [whole(cell) for cell in cells]
        meaning = _meanings([cell for cell in given if cell.casefold() not in spelt], labels)
        return [meaning.get(cell) for cell in given]

    remedy = "Spell out labels that begin alike, leave missing answers empty"
    table = _read(path, values, known if only else None, remedy, known)
    counts = pd.Series(table.to_numpy().ravel()).value_counts()
    if not counts.index.isin(list(labels)).any():
        raise InputError(
            f"{path}: no answer is a gold label ({some(sorted(labels))}); the answers are {some(counts.index)}. "
            "Spell them alike, or leave --gold out if the answers are scored already"
        )
    unknown = counts[~counts.index.isin(list(labels))]
    if len(unknown):
        listed = some([f"{label!r} ({n})" for label, n in unknown.items()])
        warnings.warn(f"{path}: labels that are no item's gold label, so always wrong: {listed}", stacklevel=2)
    return table


def read_gold(path: str | Path) -> pd.Series:
    """Gold labels of any wording, as `cift.crowds.read_gold` reads them."""
    return crowds.read_gold(path, labels=None).map(whole)


def whole(label: str) -> str:
    """A label, where it is a whole number without its decimals: 2.0 is 2."""
    match = _WHOLE.fullmatch(label)
    return match[1] if match else label


def some(names: Collection[Any], limit: int = 10) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, list(names)[:limit])) + more


def _meanings(cells: Collection[str], labels: Collection[str]) -> dict[str, object]:
    """The label that each cell means, _REFUSED where it may be two: a known one, or one that is spelt out."""
    known = {label.casefold(): label for label in labels}
    exact = len(known) < len(set(labels))  # labels that differ in case alone
    meaning: dict[str, object] = {}
    for cell in sorted(dict.fromkeys(cells), key=len, reverse=True):  # of one length, as they come in the file
        key = cell.casefold()
        starts = [label for label in known if len(cell) == 1 and label.startswith(key) and label != key]
        if exact and (cell in labels or key not in known):
            meaning[cell] = cell
        elif key in known:
            meaning[cell] = _REFUSED if exact else known[key]
        elif len(starts) > 1:
            meaning[cell] = _REFUSED
        else:
            meaning[cell] = known[starts[0]] if starts else known.setdefault(key, cell)
    return meaning


def _read(
    path: Path, values: Callable, items: Collection[str] | None, remedy: str, known: Collection[str] | None = None
) -> pd.DataFrame:
    """A wide table with its cells read by `values`: a list of spellings to a list of what they mean, or _REFUSED."""
    table = _wide(path)
    rows, headers, ids = table.index, list(table.columns), table.iloc[:, 0]
    has_ids, why = _has_ids(ids, headers[0], values, items if known is None else known)
    wanted = [(items is None or name in items) and (column > 0 or not has_ids) for column, name in enumerate(headers)]
    names = [name for name, taken in zip(headers, wanted, strict=True) if taken]
    codes, spellings = pd.factorize(table.loc[:, wanted].to_numpy().ravel())
    codes = codes.reshape(len(rows), len(names))
    meaning = np.empty(len(spellings), object)
    meaning[:] = values(list(spellings))
    problems = [f"item {name!r} has {names.count(name)} columns" for name in _repeated(names)]
    problems += ["an item has no name in row 1"] * ("" in names)
    if has_ids:
        problems += [f"row {row} has no respondent id" for row in rows[ids == ""]]
        again = rows[ids.duplicated() & (ids != "")]
        problems += [f"row {row} repeats the respondent {ids[row]!r}" for row in again] + [why] * (len(again) > 0)
    refused = np.array([value is _REFUSED for value in meaning], bool)[codes]
    for name, cells, bad in zip(names, codes.T, refused.T, strict=True):
        found = [f"row {rows[k]}, item {name!r} has the value {spellings[cells[k]]!r}" for k in bad.nonzero()[0]]
        problems += found if len(found) <= 3 else [f"{found[0]}, and {len(found) - 1} more rows of it are no answers"]
    if problems:
        raise one_message(path, [problem for problem in problems if problem], remedy)
    if not has_ids:
        ids = pd.Series(range(1, len(rows) + 1)).astype(str)
        told = f"{path}: the first column, {headers[0]!r}, is read as an item; the respondents are numbered"
        warnings.warn(told, stacklevel=3)
    return pd.DataFrame(meaning[codes], pd.Index(ids, name="respondent"), pd.Index(names, name="item_id"))


def _has_ids(cells: pd.Series, header: str, values: Callable, known: Collection[str] | None) -> tuple[bool, str]:
    """Whether the first column holds ids and, where only its cells say so, why."""
    if known is not None:
        return header not in known, ""
    if header.casefold() in ID_NAMES:
        return True, ""
    spellings = pd.unique(cells)
    odd = [cell for cell, value in zip(spellings, values(list(spellings)), strict=True) if value is _REFUSED]
    if not odd:
        return False, ""
    row = cells.index[cells == odd[0]][0]
    return True, f"column {header!r} was read as ids, since row {row} holds {odd[0]!r}"


def _repeated(names: Sequence[str]) -> list[str]:
    index = pd.Index(names, dtype=object)
    return [name for name in index[index.duplicated()].unique() if name]


def _wide(path: Path) -> pd.DataFrame:
    """A delimited file's cells, stripped; the index is the line. Rows and nameless columns that are all empty go."""
    text = read_text(path)
    if "\0" in text or text.startswith("PK"):
        raise InputError(f"{path}: not a text file; save the table as CSV (UTF-8)")
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r'"?sep=(.)"?', first.strip("\r"))  # a line that spreadsheets write
    table = parse_csv("\n" + rest, path, told[1]) if told else parse_csv(text, path, delimiter_of(text))
    table = table.set_axis([name.strip() for name in table.columns], axis=1)
    table = pd.DataFrame(
        {k: table.iloc[:, k].str.strip() for k in range(table.shape[1])}, index=table.index, dtype=object
    ).set_axis(table.columns, axis=1)
    filled = (table != "").to_numpy()
    table = table.loc[filled.any(axis=1), (np.array(table.columns) != "") | filled.any(axis=0)]
    if table.shape[1] < 2:
        raise InputError(
            f"{path}: row 1 has {table.shape[1]} cells; write a table with a column an item, separated by commas, "
            "semicolons or tabs"
        )
    if table.empty:
        raise InputError(f"{path}: there are no respondents; give a row for each below the header")
    return table


# item banks


def write_bank(path: str | Path, bank: ItemBank) -> Path:
    """Write the item table as CSV, and the whole bank (`ItemBank.save`) beside it, with the suffix .json.

    The CSV alone is enough to score with. Numbers are written so that reading gives the same ones back. Returns the
    second path. InputError where that holds something that is not a bank.
    """
    path = Path(path)
    whole_bank = path.with_suffix(".json")
    if path == whole_bank:
        raise InputError(f"{path}: name the CSV; the bank as .json is written beside it")
    if whole_bank.exists():
        try:
            ItemBank.load(whole_bank)
        except InputError as error:
            raise InputError(f"{whole_bank}: would be overwritten, and is not a bank; choose another --out") from error
    bank.save(whole_bank)
    write_text(path, bank.items.to_csv(index=False))
    return whole_bank


def read_bank(path: str | Path) -> ItemBank:
    """A bank from a CSV with the columns item_id, a, b (c and d where it has them), or of a nominal scale.

    Its population and info are those of the .json beside it if that has the same items; a warning says where it has
    not. A .json is read with `ItemBank.load`.

    InputError, one message: columns missing, cells that are no numbers, repeated items, asymptotes outside 0 to 1.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return ItemBank.load(path)
    items = _bank_items(path)
    bank = ItemBank(items, pd.DataFrame(columns=["theta", "theta_se"]), {"scale": path.stem, "notes": []})
    beside = path.with_suffix(".json")
    if beside.exists():
        try:
            stored = ItemBank.load(beside)
            same = stored.items.astype({"item_id": str}).equals(items)
        except InputError:
            same = False
        if same:
            return stored
        warnings.warn(f"{beside}: not the bank that {path.name} holds, so its population is not used", stacklevel=2)
    return bank


def _bank_items(path: Path) -> pd.DataFrame:
    text = read_text(path)
    table = parse_csv(text, path, delimiter_of(text))
    table = table.set_axis([name.strip() for name in table.columns], axis=1)
    nominal = "label" in table
    needed = ["item_id", "label", "slope", "intercept"] if nominal else ["item_id", "a", "b"]
    problems = [f"no column {name!r}" for name in needed if name not in table]
    problems += [f"two columns are called {name!r}" for name in set(table.columns[table.columns.duplicated()])]
    if table.empty:
        problems.append("no items")
    numbers = [name for name in _NUMBERS["nominal" if nominal else "bank"] if name in table]
    if not problems:
        items = table[[*(["item_id", "label"] if nominal else ["item_id"]), *numbers]].copy()
        items["item_id"] = items["item_id"].str.strip()
        for name in numbers:
            items[name] = [_number(cell) for cell in table[name]]
            empty_or_infinite = table[name].str.strip().isin(["", "inf"])
            bad = ~np.isfinite(items[name]) & ~(empty_or_infinite & name.endswith("_se"))
            problems += [
                f"row {row}, column {name!r} has the value {table.at[row, name]!r}" for row in table.index[bad]
            ]
        keys = items["item_id"] + ("\0" + items["label"] if nominal else "")
        problems += [f"row {row} repeats {items.at[row, 'item_id']!r}" for row in table.index[keys.duplicated()]]
        problems += [f"row {row} has no item_id" for row in table.index[items["item_id"] == ""]]
        if not nominal:
            items = items.assign(**{name: value for name, value in (("c", 0.0), ("d", 1.0)) if name not in items})
            wrong = ~((0 <= items["c"]) & (items["c"] < items["d"]) & (items["d"] <= 1))
            problems += [f"row {row}: not 0 <= c < d <= 1" for row in table.index[wrong]]
        elif not problems:
            starts = items["item_id"].ne(items["item_id"].shift())
            split = items["item_id"][starts].duplicated()
            gold = items["slope"].eq(0) & items["intercept"].eq(0)
            wrong = starts.index[starts & (~gold | split.reindex(starts.index, fill_value=False))]
            problems += [
                f"row {row}: an item's labels stand together, gold (slope and intercept 0) first" for row in wrong
            ]
    if problems:
        raise one_message(path, problems, "Not an item bank: write one with cift irt fit, or give item_id, a and b")
    return items.reset_index(drop=True)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
