"""Counterfactual pairs: gender swapped in both sentences, so that a model that goes by gender betrays itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.evaluation import probabilities, proportion
from cift.files import one_message

if TYPE_CHECKING:
    from datasets import Dataset

_NOUNS = """actor actress, boy girl, boyfriend girlfriend, brother sister, businessman businesswoman, chairman
chairwoman, congressman congresswoman, cowboy cowgirl, dad mom, mum dad, daddy mommy, father mother, fireman firewoman,
gentleman lady, godfather godmother, grandfather grandmother, grandpa grandma, grandson granddaughter, groom bride,
bridegroom bride, guy gal, hero heroine, husband wife, king queen, lad lass, male female, man woman, nephew niece,
policeman policewoman, prince princess, salesman saleswoman, schoolboy schoolgirl, son daughter, spokesman spokeswoman,
sportsman sportswoman, stepfather stepmother, stepson stepdaughter, uncle aunt, waiter waitress, widower widow"""
_OTHERS = "he she, himself herself, ms mr, mrs mr, masculine feminine, him her, hers his"
# After these words, and at the end of a clause, "her" is an object ("saw her in the park") and "his" stands alone.
_NO_NOUN = frozenset(
    "a about after again against all along an and around as at away because before behind beside but by down during "
    "for from her his how if in into is my near next of off on onto or our out over past so some than that the their "
    "these this those through to too toward towards under until up was when where while who with without your".split()
)


def swap_gender(text: str) -> str:
    """The text with gendered words exchanged: pronouns, man and woman, family, offices; case and number kept.

    English has two words where it has one: "her" becomes "his" before a word that can begin a noun phrase's rest ("her
    red hat") and "him" elsewhere ("saw her", "saw her in the park"); "his" likewise becomes "her" or "hers". The rule
    looks at the next word only, so "watches her sleep" becomes "watches his sleep". Names are left as they are.
    """
    return re.sub(r"\w+", _swapped, text)


def counterfactuals(corpus: Dataset) -> Dataset:
    """The pairs that have a gendered word, with gender swapped in both sentences; item_ids and labels as they were.

    Both sides change alike, so who is who stays, and with it the label. What remains is what the world knows of gender
    ("a pregnant man"): where a label rests on that, look at the pair.
    """
    from datasets import Dataset

    swapped = {name: [swap_gender(text) for text in corpus[name]] for name in ("premise", "hypothesis")}
    pairs = enumerate(zip(corpus["premise"], corpus["hypothesis"], *swapped.values(), strict=True))
    changed = [i for i, (premise, hypothesis, p, h) in pairs if (premise, hypothesis) != (p, h)]
    return Dataset.from_dict(corpus[:] | swapped, features=corpus.features).select(changed)


def flips(original: pd.DataFrame, swapped: pd.DataFrame) -> pd.DataFrame:
    """How a model's predictions change with the swap: one row for all items, and one a gold label.

    original, swapped: predictions for a corpus and for its `counterfactuals`; items are matched by item_id.

    label, n, flipped: share of items with another predicted label, and its 95 % Wilson interval low, high.
    shift: mean total variation distance between both label distributions, 0 to 1. accuracy, accuracy_swapped: of the
    same items before and after.

    Raises InputError for items without original or with two, for other labels, and for no items at all.
    """
    unknown = swapped["item_id"][~swapped["item_id"].isin(original["item_id"])]
    problems = [f"item {item!r} is not among the original predictions" for item in unknown]
    twice = original["item_id"][original["item_id"].duplicated()]
    problems += [f"item {item!r} has two original predictions" for item in twice]
    if set(original.filter(regex="^logit_")) != set(swapped.filter(regex="^logit_")):
        problems.append("the original predictions are of other labels")
    if swapped.empty:
        problems.append("there are no items")
    if problems:
        raise one_message("swapped predictions", problems, "Predict a corpus, and its counterfactuals")
    before = original.set_index("item_id").loc[swapped["item_id"]].reset_index()
    p, p_swapped = probabilities(before), probabilities(swapped)
    moved = np.abs(p.to_numpy() - p_swapped[p.columns].to_numpy()).sum(1) / 2
    table = pd.DataFrame(
        {
            "label": before["label"].to_numpy(),
            "flipped": before["predicted"].to_numpy() != swapped["predicted"].to_numpy(),
            "shift": moved,
            "accuracy": (before["predicted"] == before["label"]).to_numpy(),
            "accuracy_swapped": (swapped["predicted"] == swapped["label"]).to_numpy(),
        }
    )
    means = ["shift", "accuracy", "accuracy_swapped"]
    parts = [("all", table), *table.groupby("label")]
    rows = [{"label": name, **proportion(part["flipped"]), **part[means].mean()} for name, part in parts]
    return pd.DataFrame(rows).rename(columns={"share": "flipped"})


_PLURALS = (("man", "men"), ("fe", "ves"), ("dy", "dies"), ("my", "mies"), ("ss", "sses"), ("ro", "roes"))


def _plural(noun: str) -> str:
    for ending, plural in _PLURALS:
        if noun.endswith(ending):
            return noun.removesuffix(ending) + plural
    return f"{noun}s"


def _exchanges() -> dict[str, str]:
    """Word -> its counterpart; of two words with one counterpart, that takes the first."""
    nouns = [tuple(pair.split()) for pair in _NOUNS.split(",")]
    pairs = nouns + [(_plural(one), _plural(other)) for one, other in nouns]
    pairs += [tuple(pair.split()) for pair in _OTHERS.split(",")]
    exchanges: dict[str, str] = {}
    for one, other in pairs:
        exchanges.setdefault(one, other)
        exchanges.setdefault(other, one)
    return exchanges


_EXCHANGES = _exchanges()


def _swapped(match: re.Match) -> str:
    word = match.group()
    new = _EXCHANGES.get(word.lower())
    if new is None:
        return word
    if word.lower() in ("her", "his"):
        following = re.match(r"\s+[\"'“‘(]*(\w+)", match.string[match.end() :])
        before_noun = following is not None and following[1].lower() not in _NO_NOUN
        new = {("her", True): "his", ("her", False): "him", ("his", True): "her", ("his", False): "hers"}[
            word.lower(), before_noun
        ]
    if word.isupper() and len(word) > 1:
        return new.upper()
    return new.capitalize() if word[0].isupper() else new
