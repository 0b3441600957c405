"""A questionnaire that a class can answer on its own: one HTML file to hand out, and the reader for what comes back.

The form needs no server and no network: it runs from a memory stick, keeps answers in the browser until they are
saved as a CSV file, and sends nothing. Its parts are in `questionnaire.html` beside this module.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cift.collecting import assign
from cift.errors import InputError
from cift.files import delimiter_of, one_message, parse_csv, read_text, write_text

if TYPE_CHECKING:
    from datasets import Dataset

WORDS = {
    "entailment": "definitely true",
    "neutral": "maybe true, maybe not",
    "contradiction": "definitely false",
    "not_entailment": "not certain, or false",
}
INSTRUCTIONS = """\
You will read two sentences at a time, both about the same scene or event. Take the first one as true. Then say what \
that means for the second one.

Choose as most people would after reading the first sentence: use what everybody knows about the world, but do not \
invent a story that would make the second sentence true or false.

Judge the content, not the style. There is no trick, and no need to think long. If you cannot say, skip the item."""
_OTHERS = (".txt", ".tsv", ".xlsx", ".xls", ".ods", ".numbers")  # what answers may have been saved as by mistake
PARTS = 200  # different parts in a form with per_person
COLUMNS = ["respondent", "item_id", "answer", "order", "seconds", "kind", "form"]


def write(
    corpus: Dataset,
    folder: str | Path,
    *,
    title: str,
    contact: str,
    instructions: str = INSTRUCTIONS,
    labels: Mapping[str, str] | None = None,
    practice: Dataset | None = None,
    checks: Dataset | None = None,
    per_person: int | None = None,
    seed: int = 0,
) -> Path:
    """Write form.html, which people answer, and items.csv, all its items with their labels; return form.html's path.

    contact: who asks, what for, and whom to turn to; it stands in the consent that opens the form.
    labels: label -> the words on its button, in the order of the buttons; None: those of WORDS.
    practice: items that come first, with feedback: the label, and what the column `why` says, if there is one.
    checks: items whose label is beyond doubt, mixed in evenly, without feedback. Their labels, and those of `corpus`,
        are in items.csv only: who looks into the form's source finds those of the practice items.
    per_person: how many items of `corpus` each person gets; None: all. Who enters a number gets that one of PARTS
        balanced parts (`collecting.assign`; after PARTS they begin again), so hand out 1, 2, 3, ...; who enters none
        gets a random part.
    seed: of the parts, and, with a respondent's code, of the order of the items, which differs between respondents.

    InputError, one message: an empty title, contact or instructions, no items, an item_id that occurs twice, a practice
    or check item without label (items may be without: they have none in items.csv either), labels
    without words or of another corpus, fewer than 2 or more than 9 labels, per_person outside 1 to the number of items.
    """
    names = corpus.features["label"].names
    words = dict(labels) if labels is not None else {name: WORDS.get(name, "") for name in names}
    given_items = {"practice": practice, "item": corpus, "check": checks}
    corpora = {kind: data for kind, data in given_items.items() if data is not None}
    items = pd.concat([_items(data, kind) for kind, data in corpora.items()], ignore_index=True)
    given = {"title": title, "contact": contact, "instructions": instructions}
    _check(given, words, corpora, items, per_person)
    form: dict[str, Any] = {
        **given,
        "labels": [{"label": label, "words": text} for label, text in words.items()],
        "practice": _records(items[items["kind"] == "practice"], "label", "why"),
        "items": _records(items[items["kind"] == "item"]),
        "checks": _records(items[items["kind"] == "check"]),
        "parts": None if per_person is None else _parts(len(corpus), per_person, seed),
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()
    form["id"] = "f" + digest[:11]  # a spreadsheet would take 1234e5678901 for a number
    folder = Path(folder)
    columns = ["item_id", "kind", "premise", "hypothesis", "label"]
    write_text(folder / "items.csv", items[columns].to_csv(index=False, lineterminator="\n"))
    write_text(folder / "form.html", _page(form))
    return folder / "form.html"


def _check(
    given: Mapping[str, str],
    words: Mapping[str, str],
    corpora: Mapping[str, Dataset],
    items: pd.DataFrame,
    per_person: int | None,
) -> None:
    """Raise one InputError with all that is wrong with what `write` is given."""
    names = corpora["item"].features["label"].names
    n = len(corpora["item"])
    problems = [f"the {name} is empty" for name, text in given.items() if not text.strip()]
    unlabelled = items[(items["label"] == "") & (items["kind"] != "item")]
    problems += [f"{kind} item {item!r} has no label" for item, kind in unlabelled[["item_id", "kind"]].to_numpy()]
    problems += [f"item {item!r} occurs twice" for item in items["item_id"][items["item_id"].duplicated()].unique()]
    problems += [f"label {name!r} has no words for its button" for name in names if not words.get(name, "").strip()]
    problems += [f"labels: {name!r} is no label of the corpus" for name in words if name not in names]
    problems += [
        f"the {kind} items have the labels {', '.join(data.features['label'].names)}"
        for kind, data in corpora.items()
        if data.features["label"].names != names
    ]
    if not 2 <= len(names) <= 9:
        problems.append(f"there are {len(names)} labels")
    if not n:
        problems.append("there are no items")
    elif per_person is not None and not 1 <= per_person <= n:
        problems.append(f"per_person is {per_person}, the items {n}")
    if problems:
        remedy = (
            "A form needs a title, a contact and instructions, items with different item_ids, and 2 to 9 labels with "
            f"words, here {', '.join(names)}; per_person is at most the number of items"
        )
        raise one_message("questionnaire", problems, remedy)


def read(answers: str | Path | Sequence[str | Path], form: str | Path) -> pd.DataFrame:
    """The answers that people handed in, as a long table; `crowds.to_wide` makes responses of those of kind "item".

    answers: a folder, of which every .csv below it is read, or files. What else is in the folder and looks like a table
        or text (.csv.txt, .xlsx, ...) is named in a UserWarning. form: the form.html that was handed out.

    Returns
    -------
    DataFrame
        A row for each item that a respondent saw and answered or skipped: respondent, item_id, answer (a label, None
        where skipped), order (from 1, practice and checks included), seconds (in view, all visits together), kind
        ("practice", "item" or "check"). A UserWarning names forms that are not finished, and those handed in twice.

    Raises
    ------
    InputError
        One message with all of: a file that is no table or lacks a column; answers to another form; an unknown item,
        answer or kind; an order or seconds that are no number; an item or place that a respondent has twice; rows that
        are missing; a respondent with two different files; no files.
    """
    asked = contents(form)
    given = [answers] if isinstance(answers, str | Path) else list(answers)
    own = Path(form).parent / "items.csv"
    paths = [path for name in given for path in _tables_in(Path(name)) if path.resolve() != own.resolve()]
    others = [str(path) for name in given for path in sorted(Path(name).rglob("*")) if path.suffix.lower() in _OTHERS]
    problems = [] if paths else ["there is no .csv file of answers"]
    found: dict[str, tuple[Path, pd.DataFrame]] = {}
    twice, unfinished = [], []
    for path in paths:
        try:
            table = parse_csv(text := read_text(path), path, delimiter_of(text))
        except InputError as error:
            problems.append(str(error))
            continue
        faults = _faults(table, asked)
        problems += [f"{path}: {fault}" for fault in faults]
        if faults:
            continue
        for respondent, rows in table.groupby("respondent", sort=False):
            rows = rows[COLUMNS].reset_index(drop=True)
            first, known = found.setdefault(str(respondent), (path, rows))
            if first is path:
                left = (rows["seconds"] == "").sum()
                unfinished += [f"{respondent} ({left} left)"] if left else []
            elif known.equals(rows):
                twice.append(f"{path} as {first}")
            else:
                problems.append(f"{path}: respondent {respondent!r} has other answers in {first}")
    if problems:
        remedy = (
            "Give the files as the form saved them, each respondent's once (of two different ones keep that which was "
            f"saved last), and only those of form {asked['id']}"
        )
        raise one_message("answers", problems, remedy)
    told = {"not read, for the name does not end in .csv": others, "not finished": unfinished}
    for what, names in {"the same answers were handed in twice, kept once": twice, **told}.items():
        if names:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            warnings.warn(f"answers: {what}: {', '.join(names[:20])}{more}", UserWarning, stacklevel=2)
    long = pd.concat([rows for _, rows in found.values()], ignore_index=True).drop(columns="form")
    long = long[long["seconds"] != ""].reset_index(drop=True)
    return long.assign(
        answer=long["answer"].where(long["answer"] != "", None),
        order=long["order"].astype(int),
        seconds=long["seconds"].astype(float),
    )


# writing


def _items(data: Dataset, kind: str) -> pd.DataFrame:
    names = data.features["label"].names
    table = data.to_pandas()
    labels = [names[int(code)] if code >= 0 else "" for code in table["label"]]  # -1 and NaN: without label
    return table.assign(label=labels, kind=kind)


def _records(items: pd.DataFrame, *columns: str) -> list[dict[str, str]]:
    wanted = ["item_id", "premise", "hypothesis", *(name for name in columns if name in items)]
    return items[wanted].fillna("").to_dict("records")


def _parts(n: int, per_person: int, seed: int) -> list[list[int]]:
    """The items, by position, of each of PARTS balanced parts."""
    numbers = [str(i) for i in range(n)]
    assigned = assign(numbers, [str(i) for i in range(PARTS)], per_person, seed)
    return [[int(i) for i in rows["item_id"]] for _, rows in assigned.groupby("respondent", sort=False)]


def _page(form: Mapping[str, Any]) -> str:
    """The template with the form in it.

    The texts are JSON without a character that means something to HTML, the page puts them in as text only, and its
    content security policy allows no script and no style but its own, and no connection at all.
    """
    template = resources.files("cift").joinpath("questionnaire.html").read_text(encoding="utf-8")
    own = {tag: _hash(re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)) for tag in ("script", "style")}
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'; "
    policy += "; ".join(f"{tag}-src '{digest}'" for tag, digest in own.items())
    text = json.dumps(form)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    values = {"POLICY": policy, "TITLE": html.escape(form["title"]), "FORM": text}
    return re.sub("__(POLICY|TITLE|FORM)__", lambda match: values[match[1]], template)


def _hash(contents: Sequence[str]) -> str:
    (content,) = contents
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


# reading


def contents(form: str | Path) -> dict[str, Any]:
    """What `write` put into a form: id, practice, items and checks as lists, parts (places in items, or None).

    Besides, kinds: item_id -> practice, item or check; and expected: how many rows a respondent's file has. Raises
    InputError for a file that is no form.
    """
    block = re.search('<script type="application/json" id="form">(.*?)</script>', read_text(Path(form)), re.DOTALL)
    if block is None:
        raise InputError(f"{form}: not a questionnaire; give the form.html that questionnaire.write made")
    found = json.loads(block[1])
    kinds = {"practice": found["practice"], "item": found["items"], "check": found["checks"]}
    found["kinds"] = {item["item_id"]: kind for kind, items in kinds.items() for item in items}
    body = found["items"] if found["parts"] is None else found["parts"][0]
    found["expected"] = len(found["practice"]) + len(body) + len(found["checks"])
    return found


def _tables_in(path: Path) -> list[Path]:
    return sorted(name for name in path.rglob("*") if name.suffix.lower() == ".csv") if path.is_dir() else [path]


def _faults(table: pd.DataFrame, form: Mapping[str, Any]) -> list[str]:
    """All that is wrong with one file's rows."""
    absent = [f"there is no column {name!r}" for name in COLUMNS if name not in table]
    absent += [f"two columns are {name!r}" for name in table.columns[table.columns.duplicated()].unique()]
    if absent or table.empty:
        return absent or ["there are no answers"]
    foreign = table["form"][table["form"] != form["id"]].unique()
    if len(foreign):
        return [f"column form is {name!r}: these are answers to another form" for name in foreign]
    labels = {label["label"] for label in form["labels"]}
    expected_kind = table["item_id"].map(form["kinds"])
    number = pd.to_numeric(table["seconds"], errors="coerce")
    wrong = {
        "respondent": table["respondent"] == "",
        "item_id": expected_kind.isna(),
        "answer": ~table["answer"].isin([*labels, ""]),
        "order": ~table["order"].str.fullmatch("[1-9][0-9]*"),
        "seconds": ~((number >= 0) & (number < float("inf"))) & ((table["seconds"] != "") | (table["answer"] != "")),
        "kind": expected_kind.notna() & (table["kind"] != expected_kind),
    }
    faults = [
        f"row {row}, column {column} is {table.at[row, column]!r}"
        for column in wrong
        for row in table.index[wrong[column]]
    ]
    for column in ("item_id", "order"):
        repeated = table.loc[table.duplicated(["respondent", column]), column]
        faults += [f"row {row}, column {column} repeats {value!r}" for row, value in repeated.items()]
    counts = table["respondent"].value_counts(sort=False)
    return faults + [
        f"respondent {name!r} has {count} rows of {form['expected']}"
        for name, count in counts.items()
        if count != form["expected"]
    ]
