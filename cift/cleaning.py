"""Cleaning of sentences: what is broken is repaired, what is meant is kept; and a look at lengths and missing values.

The rules, in this order, for premises and hypotheses alike:

mojibake, entities    "isnâ€™t" -> "isn’t", "&amp;" -> "&": text that was decoded wrongly or escaped for HTML (ftfy);
                      what is lost, "�", stays, and so do entities beside a "<", which is HTML that is meant
Unicode form          NFC: a letter and its accent become one character; the ligature "ﬁ" becomes "fi"
invisible characters  control, zero-width and bidirectional characters, byte order marks, terminal escapes: removed
white space           runs of any white space, also no-break spaces and line ends, become one space; none at the ends
case                  lower case, only if asked for

They are repeated until nothing changes, since one rule may uncover work for another; so cleaning twice is cleaning
once. NFKC is not used, since it changes what is said: "10³" becomes "103", "½" becomes "1⁄2". Curly quotes and dashes
stay as well: a dash is not a hyphen, "rock ’n’ roll" is correct, and tokenizers know them. Joiners stay between
characters that need them, as in emoji, Persian and Hindi.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.files import one_message
from cift.finetuning import quiet

if TYPE_CHECKING:
    from datasets import Dataset

    Rules = dict[str, Callable[[str], str]]

SENTENCES = ("premise", "hypothesis")

# What stands in a cell, apart from case and outer spaces, where its value is missing.
DISGUISES = frozenset(
    "n/a #n/a na nan <na> null nil none missing unknown undefined - -- --- – — . .. ... … ? ?? ???".split()
)

# Controls that are no white space, soft hyphen, zero-width and bidirectional characters, byte order mark, annotation
# marks and tags; and joiners at the edge of a text or beside Latin script.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]|(?<![^\x00-\u024f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\u024f])"
)


def clean_text(text: str, lower: bool = False) -> str:
    """The text after the rules of this module; `lower` adds the last one."""
    for _, _, after in _steps(text, _rules(lower)):
        text = after
    return text


def clean(corpus: Dataset, lower: bool = False) -> tuple[Dataset, pd.DataFrame]:
    """The corpus with clean premises and hypotheses, and a report of what each rule did.

    The report: a row a rule, in the order of the rules; premise and hypothesis: how many of them it changed; before
    and after: the shortest sentence that it changed, what cannot be seen written as an escape.
    Raises InputError where nothing is left of a sentence.
    """
    from tqdm.auto import tqdm

    rules = _rules(lower)
    counts = {column: dict.fromkeys(rules, 0) for column in SENTENCES}
    examples = dict.fromkeys(rules, ("", ""))
    problems, cleaned = [], corpus
    for column in SENTENCES:
        known: dict[str, tuple[str, set[str]]] = {}  # sentence: clean sentence, rules that changed it
        values = []
        for item, sentence in zip(corpus["item_id"][:], tqdm(corpus[column][:], column, disable=quiet()), strict=True):
            if sentence not in known:
                steps = list(_steps(sentence, rules))
                known[sentence] = steps[-1][2] if steps else sentence, {rule for rule, _, _ in steps}
                for rule, *example in steps:
                    if not examples[rule][0] or len(example[0]) < len(examples[rule][0]):
                        examples[rule] = _visible(example[0]), _visible(example[1])
            value, changed = known[sentence]
            values.append(value)
            for rule in changed:
                counts[column][rule] += 1
            if not value:
                problems.append(f"nothing is left of the {column} of {item}")
        cleaned = cleaned.remove_columns(column).add_column(column, values, feature=corpus.features[column])
    if problems:
        raise one_message("clean", problems, "Leave these pairs out first (corpora.without)")
    report = pd.DataFrame(counts).rename_axis(index="rule")
    report[["before", "after"]] = [examples[rule] for rule in rules]
    return cleaned.select_columns(corpus.column_names), report


def length_outliers(corpus: Dataset, threshold: float = 3.5) -> pd.DataFrame:
    """Premises and hypotheses that are much shorter or longer than most, strangest first.

    A row a sentence: item_id, column, words (between white space), z, sentence. z is the modified z-score of the
    log of the number of words, among all premises or all hypotheses: .6745 (x - median) / MAD, or, where more than half
    have the same length, (x - median) / (1.2533 mean absolute deviation). Listed are those with |z| above the
    threshold; 3.5 is what Iglewicz and Hoaglin (1993, How to Detect and Handle Outliers) recommend.
    """
    found = []
    for column in SENTENCES:
        table = pd.DataFrame({"item_id": corpus["item_id"][:], "column": column, "sentence": corpus[column][:]})
        table["words"] = table["sentence"].str.count(r"\S+")
        distance = np.log(table["words"].clip(lower=1))
        distance -= distance.median()
        scale = distance.abs().median() / 0.6745 or distance.abs().mean() * 1.2533 or 1.0
        found.append(table.assign(z=distance / scale))
    outliers = pd.concat(found).query("abs(z) > @threshold")
    return outliers.sort_values("z", key=np.abs, ascending=False, kind="stable", ignore_index=True)[
        ["item_id", "column", "words", "z", "sentence"]
    ]


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """Where a raw table lacks values, before it becomes a corpus: a row a column of the table.

    absent: cells without value (None, NaN); blank: empty or only white space; disguised: one of DISGUISES, such as
    "n/a", which may be meant ("none" can be an answer), so that nothing is changed here; share: of all cells, these
    three; written_as: the disguises, with counts; rows: the first five rows, named as in `corpora.validate`.
    """
    rows = table.index if table.index.name == "row" else pd.RangeIndex(1, len(table) + 1)
    lines = []
    for _, values in table.items():
        text = values.astype(str).str.strip()
        absent = values.isna()
        blank = ~absent & (text == "")
        disguised = ~absent & text.str.casefold().isin(DISGUISES)
        anyhow = absent | blank | disguised
        lines.append(
            {
                "absent": absent.sum(),
                "blank": blank.sum(),
                "disguised": disguised.sum(),
                "share": anyhow.mean() if len(table) else 0.0,
                "written_as": ", ".join(f"{value} ({n})" for value, n in text[disguised].value_counts().items()),
                "rows": ", ".join(map(str, rows[anyhow.to_numpy()][:5])) + (", ..." if anyhow.sum() > 5 else ""),
            }
        )
    return pd.DataFrame(lines, index=list(table)).rename_axis(index="column")


def _rules(lower: bool) -> Rules:
    import ftfy
    from ftfy import fixes

    repair = ftfy.TextFixerConfig(
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    rules: Rules = {
        "mojibake, entities": lambda text: ftfy.fix_text(text, repair),
        "Unicode form": lambda text: unicodedata.normalize("NFC", fixes.fix_latin_ligatures(text)),
        "invisible characters": lambda text: _INVISIBLE.sub("", fixes.remove_terminal_escapes(text)),
        "white space": lambda text: " ".join(text.split()),
    }
    return rules | {"case": str.lower} if lower else rules


def _steps(text: str, rules: Rules) -> Iterator[tuple[str, str, str]]:
    """Rule, text before, text after, for each rule that changes the text, until none does."""
    changed = True
    while changed:
        changed = False
        for name, rule in rules.items():
            after = rule(text)
            if after != text:
                yield name, text, after
                text, changed = after, True


def _visible(text: str) -> str:
    """The text with combining marks and characters that do not print as escapes, so that one sees what there was."""
    return "".join(
        char if char.isprintable() and not unicodedata.combining(char) else ascii(char)[1:-1] for char in text
    )
