"""A study of one's own, out of one TOML file and three tables: pairs, the crowd's items, and the crowd's answers.

`EXAMPLE` shows every key. `read_study` says how the tables are read, and what becomes of them.
"""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cift import crowds, selection
from cift.corpora import LABELS, load_corpus, overlap, prefixed, to_dataset, without
from cift.errors import InputError
from cift.files import FORMS, as_text, one_message, read_rows, read_text
from cift.irt import METHODS, ItemBank, calibrate
from cift.public import READERS
from cift.recipe import Recipe
from cift.splits import folds, split
from cift.studies import BASE_RECIPE, LESSON, HeldOut, Study
from cift.tables import some

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLE = """\
# Run it with: cift case-study --study nurses.toml
# The files are looked for beside this one. Needed are base, items and answers; all else may be left out.

name = "nurses"                             # if left out: the name of this file
population = "212 nurses, asked in May"     # whom the models are compared with; if left out: "212 respondents"
labels = ["entailment", "neutral", "contradiction"]
# labels = {e = "entailment", n = "neutral", c = "contradiction"}   # or: what is written in the files, and its meaning

[corpus]                                    # files with the columns premise, hypothesis, label (and item_id),
base = "pairs.csv"                          # or corpora by name, as "snli@train"; what the model learns first
# validation = "validation.csv"             # by which settings are chosen      If one of these three is left out,
# pool = "pool.csv"                         # for the control with random items 10 %, 10 % or 20 % of base are set
# test = "test.csv"                         # the large test                    aside for it, by premise.
# other = "sick@train"                      # an independent corpus, for the control that learns from it
# base_test = "base_test.csv"               # for what is forgotten of base, if test is about another task

[crowd]
items = "items.csv"                         # what people were asked: item_id, premise, hypothesis, label
answers = "answers.csv"                     # a row a person and a column an item; or respondent, item_id, answer
held_out = "topic"                          # a column of items: each topic in turn is measured on, the others learnt
# held_out = 5                              # or (if left out) so many random parts of the items, by premise
method = "mml"                              # of calibration; "map" has priors, as few answers an item need them
discriminating = true                       # whether items that do not tell the able from others leave the scales

[base_recipe]                               # settings of cift.recipe.Recipe; those that a table leaves out are as
epochs = 2                                  # there, and these are taken if the whole table is left out
learning_rate = 5e-5

[recipe]                                    # for learning from the crowd; also tried: a third and three times the rate
learning_rate = 1e-4
batch_size = 16
strategy = "frozen"
options = {trainable_layers = 2}
"""

CUT = {"validation": 0.1, "pool": 0.1, "test": 0.2}  # shares of base, for what has no corpus of its own
FOLDS = 5
FEWEST = 3  # items of a scale: two have four patterns of answers, too few for two slopes and two difficulties

_KEYS: dict[str, dict[str, tuple[type, ...]]] = {
    "": {
        **dict.fromkeys(("name", "population"), (str,)),
        "labels": (list, dict),
        **dict.fromkeys(("corpus", "crowd", "base_recipe", "recipe"), (dict,)),
    },
    "corpus": dict.fromkeys(("base", "validation", "pool", "test", "other", "base_test"), (str,)),
    "crowd": {"items": (str,), "answers": (str,), "held_out": (str, int), "method": (str,), "discriminating": (bool,)},
}
_NEEDED = {"": ("corpus", "crowd"), "corpus": ("base",), "crowd": ("items", "answers")}
_WORDS = {str: "text in quotes", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}
_RECIPES = {"base_recipe": BASE_RECIPE, "recipe": LESSON}
_NOT_TO_SET = {  # arms have their losses, epochs are searched for, and nothing is measured by which to stop early
    "base_recipe": ("patience",),
    "recipe": ("loss", "epochs", "patience"),
}
_APART = ("test", "base_test", "validation", "pool", "other", "base")  # the first of two keeps a pair that both hold


def read_study(path: str | Path) -> Study:
    """The study that a TOML file describes (`EXAMPLE`); its paths are relative to its folder.

    Corpora and items are read by `load_corpus`, answers by `crowds.read_responses` (wide) or `crowds.read_answers`
    (long). Parts of the test that a column `part` names are reported one by one, too.

    Held out by a column, each group has a scale, and is left out of what is learnt, of which rarer labels are then
    repeated (`Study.balanced`); items whose cell is empty are always learnt and never measured on. Held out in random
    parts (`splits.folds`), each part has a scale, and all other items together have another one, which arms select by.
    Items that everyone answers alike, and those that do not discriminate, are learnt, but on no scale.

    A pair that two corpora hold is left out of the second one, in this order: the crowd's items, test, base_test,
    validation, pool, other, base; a UserWarning counts them. Items keep their item_id; before that of another pair
    stands its corpus's key ("pool row-7"), so that no two are the same.

    Raises
    ------
    InputError
        One message with all that is wrong with keys and values; or else with all that is wrong with the tables; or else
        with all that is wrong with what they make: items without answers, or in two groups, or in a test; groups
        without which a label is gone; too few items for a scale; a corpus of which nothing is left.
    """
    path = Path(path)
    settings = _settings(path)
    labels, crowd = settings["labels"], settings["crowd"]
    problems: list[str] = []
    corpora: dict[str, Dataset] = {}
    for key, source in {**settings["corpus"], "items": crowd["items"]}.items():
        with _noted(problems, key):
            corpus = _read_corpus(path.parent, source, labels)
            corpora[key] = corpus if key == "items" else prefixed(corpus, key)
    with _noted(problems, "answers"):
        responses = _read_answers(path.parent / crowd["answers"], labels, corpora.get("items"))
    _refuse(path, problems)
    items = corpora.pop("items")
    with _noted(problems, "crowd"):
        held_out = _held_out(settings["name"], items, responses, crowd)
    with _noted(problems, "corpus"):
        corpora = _apart(corpora, items)
    _refuse(path, problems)
    return Study(
        name=settings["name"],
        population=settings.get("population", f"{len(responses)} respondents"),
        held_out=held_out,
        distributions=crowds.label_distributions(responses, items.features["label"].names),
        base_recipe=settings["base_recipe"],
        recipe=settings["recipe"],
        balanced=isinstance(crowd["held_out"], str),
        **corpora,
    )


@contextmanager
def _noted(problems: list[str], where: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        problems.append(f"{where}: {error}")


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if problems:
        raise one_message(path, problems, "cift.own_study.EXAMPLE shows a whole file")


# keys and values


def _settings(path: Path) -> dict[str, Any]:
    """What the file says, and what it leaves out: recipes as `Recipe`, labels as `load_corpus` takes them."""
    try:
        found = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}; text is in quotes, true and false are not") from error
    problems = []
    for table, known in _KEYS.items():
        given = found.get(table, {}) if table else found
        if isinstance(given, dict):  # else the top table has it as a problem
            problems += _key_problems(table, given, known)
    labels = found.setdefault("labels", list(LABELS))
    problems += _label_problems(labels) if isinstance(labels, list | dict) else []
    crowd = {"held_out": FOLDS, "method": "mml", "discriminating": True}
    if isinstance(found.get("crowd"), dict):
        found["crowd"] = crowd = crowd | found["crowd"]
    if crowd["method"] not in METHODS:
        problems.append(f"crowd.method is {crowd['method']!r}; choose from {', '.join(METHODS)}")
    for table, default in _RECIPES.items():
        given = found.setdefault(table, default)
        if isinstance(given, dict):
            with _noted(problems, table):
                found[table] = _recipe(given, _NOT_TO_SET[table])
    _refuse(path, problems)
    return {"name": path.stem} | found


def _key_problems(table: str, given: Mapping[str, Any], known: Mapping[str, tuple[type, ...]]) -> list[str]:
    prefix = f"{table}." if table else ""
    problems = [f"{prefix}{key} is missing" for key in _NEEDED[table] if key not in given]
    problems += [_unknown(f"{prefix}{key}", key, known) for key in given if key not in known]
    for key, value in given.items():
        if key in known and (type(value) not in known[key] or value == ""):
            words = " or ".join(_WORDS[kind] for kind in known[key])
            problems.append(f"{prefix}{key} is {value!r}; give {words}")
    return problems


def _unknown(what: str, key: str, known: Collection[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"{what} is unknown; " + (f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}")


def _label_problems(labels: Sequence[Any] | Mapping[str, Any]) -> list[str]:
    meant = list(labels.values()) if isinstance(labels, Mapping) else labels
    if not all(isinstance(label, str) and label.strip() for label in [*labels, *meant]):
        return [f"labels is {labels!r}; give each as text in quotes"]
    if len(set(meant)) < 2 or len(set(labels)) < len(labels):
        return [f"labels is {labels!r}; give two or more, each once"]
    return []


def _recipe(given: Mapping[str, Any], not_to_set: Collection[str]) -> Recipe:
    known = [field.name for field in fields(Recipe) if field.name not in not_to_set]
    problems = [f"{name} is the study's to set; leave it out" for name in given if name in not_to_set]
    problems += [_unknown(name, name, known) for name in given if name not in (*known, *not_to_set)]
    values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    with _noted(problems, "its values"):
        made = Recipe(**{name: value for name, value in values.items() if name in known})
    if problems:
        raise InputError("; ".join(problems))
    return made


# tables


def _read_corpus(folder: Path, source: str, labels: Sequence[str] | Mapping[str, str]) -> Dataset:
    """A file or folder beside the TOML, else a corpus by name; "@SPLIT" names the split. Its labels as in `labels`."""
    name, sign, its_split = source.rpartition("@")
    if not sign or (folder / source).exists():
        name, its_split = source, ""
    beside = folder / name
    here = name not in READERS and (beside.exists() or beside.suffix.lower() in FORMS)
    corpus = load_corpus(beside if here else name, its_split or None, labels=labels)
    names = corpus.features["label"].names
    meant = _meant(labels)
    if names == meant:
        return corpus
    table = corpus.to_pandas().assign(label=[names[code] for code in corpus["label"]])
    return to_dataset(table, meant, source)  # a standard set of labels may be larger, or in another order


def _read_answers(path: Path, labels: Sequence[str] | Mapping[str, str], items: Dataset | None) -> pd.DataFrame:
    """Answers as respondents x items, in the order of the items if these are known."""
    meanings = labels if isinstance(labels, Mapping) else {}
    words = list(dict.fromkeys([*labels, *_meant(labels)]))
    ids = None if items is None else list(items["item_id"])
    rows = read_rows(path)
    if path.suffix.lower() in (".csv", ".tsv") and not {"item_id", "answer"} <= set(rows.table.columns.str.strip()):
        responses = crowds.read_responses(path, words, ids)
    else:
        responses = crowds.to_wide(crowds.read_answers(path, words, ids))
    if meanings:
        responses = responses.map(lambda answer: meanings.get(answer, answer))
    return responses.reindex(columns=ids)


def _meant(labels: Sequence[str] | Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(labels.values() if isinstance(labels, Mapping) else labels))


# what they make


def _held_out(name: str, items: Dataset, responses: pd.DataFrame, crowd: Mapping[str, Any]) -> dict[str, HeldOut]:
    names, ids = items.features["label"].names, list(items["item_id"])
    gold = pd.Series([names[code] for code in items["label"]], index=ids)
    parts = _parts(items, crowd["held_out"])
    rest = {part: gold.index.drop(its).tolist() for part, its in parts.items()}
    problems = []
    if silent := [item for item in ids if responses[item].isna().all()]:
        problems.append(f"nobody answered {some(silent)}; take such items out of items")
    for part, others in rest.items():
        if gone := [label for label in names if label not in set(gold[others])]:
            problems.append(
                f"without {part!r} no item is labelled {', '.join(gone)}; name in labels only what occurs, "
                "and hold out by a column whose values do not follow the labels"
            )
        if twice := overlap(without(items, others), without(items, parts[part])):
            problems.append(f"pairs of {part!r} are also in other groups: {some(twice)}; ask each pair once")
    if problems:
        raise InputError("; ".join(problems))

    scored = crowds.score(responses, gold)

    def scale(part: str, its: list[str]) -> ItemBank:
        return _scale(scored[its], f"{name}, {part}", crowd["method"], crowd["discriminating"])

    banks = {}
    for part, its in parts.items():
        with _noted(problems, part):
            banks[part] = scale(part, its)
    if problems:
        raise InputError("; ".join(problems))
    held_out = {}
    for part, bank in banks.items():
        measured = without(items, set(ids) - set(bank.items["item_id"]))
        others = [other for its, other in banks.items() if its != part]
        if isinstance(crowd["held_out"], int):  # parts at random are one scale
            others = [scale(f"all but {part}", rest[part])]
        held_out[part] = HeldOut(bank, measured, without(items, parts[part]), measured, others)
    return held_out


def _parts(items: Dataset, held_out: str | int) -> dict[str, list[str]]:
    """The items of each part that is left out in turn."""
    if isinstance(held_out, int):
        return {f"fold {k}": list(fold["item_id"]) for k, (_, fold) in enumerate(folds(items, held_out), 1)}
    if held_out not in items.column_names:
        raise InputError(_unknown(f"held_out: the column {held_out!r} of the items", held_out, items.column_names))
    parts: dict[str, list[str]] = {}
    for item, value in zip(items["item_id"], items[held_out], strict=True):
        if group := as_text(value).strip():
            parts.setdefault(group, []).append(item)
    if not parts:
        raise InputError(f"held_out: the column {held_out!r} of the items is empty; name each item's group in it")
    return parts


def _scale(scored: pd.DataFrame, name: str, method: str, discriminating: bool) -> ItemBank:
    bank = calibrate(scored, name, method=method)
    kept = selection.discriminating(bank) if discriminating else list(bank.items["item_id"])
    if len(kept) < FEWEST:
        raise InputError(
            f"{len(kept)} of {scored.shape[1]} items are fit for a scale, which needs {FEWEST}; make larger parts, ask "
            "more people, set discriminating = false, or empty the items' cells in the column, to learn from them only"
        )
    return bank if len(kept) == len(bank.items) else calibrate(scored[kept], name, method=method)


def _apart(corpora: Mapping[str, Dataset], items: Dataset) -> dict[str, Dataset]:
    """The corpora without what they share, and those that are missing cut from base."""
    problems = []
    kept = {"items": items}
    for key in (key for key in _APART if key in corpora):
        shared = {other: set(overlap(corpora[key], its)) for other, its in kept.items()}
        kept[key] = corpora[key]
        if key in ("test", "base_test") and shared["items"]:
            problems.append(f"{len(shared['items'])} pairs of {key} are also the crowd's items; leave them out of one")
        elif found := set().union(*shared.values()):
            where = ", ".join(other for other, its in shared.items() if its)
            warnings.warn(f"{key}: left out {len(found)} pairs that are also in {where}", UserWarning, stacklevel=3)
            kept[key] = without(corpora[key], found)
    del kept["items"]
    problems += [f"nothing is left of {key}; give other pairs" for key, corpus in kept.items() if not len(corpus)]
    learnt = set(kept["base"]["label"])
    if gone := [label for code, label in enumerate(items.features["label"].names) if code not in learnt]:
        problems.append(f"no pair of base is labelled {', '.join(gone)}; give some")
    if problems:
        raise InputError("; ".join(problems))
    if missing := {key: share for key, share in CUT.items() if key not in kept}:
        kept |= split(kept["base"], {"base": 1 - sum(missing.values())} | missing)
    return kept
