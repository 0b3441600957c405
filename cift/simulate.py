"""Simulated material with known truth: the scenes corpus, written by a grammar.

A pattern of data/scenes/patterns.yaml makes one hypothesis and, for that same hypothesis, a premise that
entails it, one that leaves it open and one that contradicts it, so that hypotheses alone cannot tell the
labels apart. The words stand in data/scenes/lexicon.yaml, in trees: what lies below a word entails it in
affirmative contexts, what lies beside it excludes it (natural logic: MacCartney & Manning 2009).
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cift.corpora import LABELS, data_dir
from cift.errors import InputError

SIZES: Mapping[str, int] = {"train": 12000, "validation": 1000, "test": 2000}

# The dials of difficulty: how often a word that is not at issue is exchanged as well, wherever that keeps the
# label; and how often the test split insists on a word that training and validation never use, where there is
# one (0: it never uses them either).
COMPOSED = 0.05
UNSEEN = 0.1

_SLOT = re.compile(r"\{(\w+)(<<|[<>=!?^]|[+-]\d?)?(?:\.(\w+))?\}")
_MACRO = re.compile(r"<(\w+)(?::(\w+[?^]?))?>")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_COLUMNS = ["premise", "hypothesis", "label", "phenomenon"]
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!uni|use|uku|eu|one)")


@dataclass(eq=False)
class Sense:
    """A node of a lexical tree: its synonyms, each with "kept from training?", and its place."""

    words: list[tuple[str, bool]]
    parent: Sense | None
    overlapping: bool  # what lies right below may be true of the same thing
    opposites: bool
    children: list[Sense] = field(default_factory=list)


class Word(NamedTuple):
    """A word as drawn; the root of its tree bounds what it may be exchanged for."""

    text: str
    unseen: bool
    sense: Sense
    root: Sense


class Number(NamedTuple):
    """A member of an ordered series, such as two or Tuesday."""

    position: int
    series: list[str]


class Grammar(NamedTuple):
    lexicon: dict[str, Any]
    trees: dict[str, Sense]
    patterns: list[dict[str, Any]]
    macros: dict[str, list[str]]


class _Unfit(Exception):
    """What was drawn does not fit together; draw again."""


class _Dice:
    """Draws that are the same on every platform and Python version."""

    def __init__(self, seed: int, unseen: float):
        self.random, self.unseen = random.Random(seed).random, unseen

    def pick(self, options: list) -> Any:
        if not options:
            raise _Unfit
        return options[int(self.random() * len(options))]

    def word(self, options: list[Word]) -> Word:
        kept = [word for word in options if word.unseen]
        if kept and self.random() < self.unseen:
            return self.pick(kept)
        return self.pick([word for word in options if not word.unseen] or (kept if self.unseen else []))


# the lexicon


def read_grammar(folder: Path) -> Grammar:
    """Lexicon and patterns of a folder; every fourth leaf and third synonym is kept from training."""
    import yaml

    lexicon = yaml.safe_load((folder / "lexicon.yaml").read_text(encoding="utf-8"))
    patterns = yaml.safe_load((folder / "patterns.yaml").read_text(encoding="utf-8"))
    kept: dict[str, bool] = dict.fromkeys(lexicon["always"], False)
    counts = {"leaf": 0, "synonym": 0}

    def keep(text: str, kind: str, every: int) -> tuple[str, bool]:
        if text not in kept:
            counts[kind] += 1
            kept[text] = counts[kind] % every == 0 or kept.get(text.split()[-1], False)
        return text, kept[text]

    def grow(spec: Any, parent: Sense | None = None) -> Sense:
        name, below = next(iter(spec.items())) if isinstance(spec, dict) else (spec, [])
        texts = [text.strip() for text in name.replace("~", "").split("=")]
        if below or name.startswith("_"):
            kept.setdefault(texts[0], False)
        words = [keep(texts[0], "leaf", 4), *(keep(text, "synonym", 3) for text in texts[1:])]
        opposites, hidden = name.startswith("_opposites"), name.startswith("_")
        sense = Sense([] if hidden else words, parent, "~" in name, opposites)
        for item in [below] if isinstance(below, dict) else below:
            singles = [{key: value} for key, value in item.items()] if isinstance(item, dict) else [item]
            sense.children += [grow(single, sense) for single in singles]
        return sense

    trees: dict[str, Sense] = {}
    for key, value in lexicon["trees"].items():
        trees[key.strip("~")] = root = grow({key: value})
        for sense in _subtree(root):
            if sense.children and sense.words:
                trees.setdefault(sense.words[0][0], sense)
    for record in (record for bundle in lexicon["bundles"].values() for record in bundle):
        record.update({slot: grow({"_~": spec}) for slot, spec in record.items() if isinstance(spec, list)})
    return Grammar(lexicon, trees, patterns["patterns"], patterns["macros"])


def _subtree(sense: Sense) -> Iterator[Sense]:
    yield sense
    for child in sense.children:
        yield from _subtree(child)


def _lineage(sense: Sense, root: Sense) -> list[Sense]:
    """The sense and all above it, nearest first, up to the root."""
    path = [sense]
    while path[-1] is not root and path[-1].parent is not None:
        path.append(path[-1].parent)
    return path


def _words(senses: list[Sense], root: Sense) -> list[Word]:
    return [Word(text, unseen, sense, root) for sense in senses for text, unseen in sense.words]


def related(word: Word, relation: str) -> list[Word]:
    """The words more specific "<", more general ">", of the same meaning "=", or excluded "!" by a word."""
    path = _lineage(word.sense, word.root)
    if relation == "=":
        senses = path[:1]
    elif relation == ">":
        senses = path[1:]
    elif relation == "<":
        senses = list(_subtree(word.sense))[1:]
    else:
        levels = [(own, up) for own, up in zip(path, path[1:], strict=False) if not up.overlapping]
        rivals = [child for own, up in levels for child in up.children if child is not own]
        senses = [sense for rival in rivals for sense in _subtree(rival)]
    return [other for other in _words(senses, word.root) if other.text != word.text]


def _akin(one: Word, other: Word) -> bool:
    """Whether two words are the same or one lies above the other."""
    above = other.sense in _lineage(one.sense, one.root) or one.sense in _lineage(other.sense, other.root)
    return above or one.text == other.text


# sentences


def _draw(pattern: dict[str, Any], dice: _Dice, grammar: Grammar) -> dict[str, Any]:
    """The words of a scene, by slot: those of a bundle and those of the pattern, none akin to another."""
    specs = dict(dice.pick(grammar.lexicon["bundles"][pattern["from"]])) if "from" in pattern else {}
    tense = pattern.get("tense", specs.pop("tense", None)) or dice.pick(["is", "was"])
    words: dict[str, Any] = {"be": tense, "were": {"is": "are", "was": "were"}[tense]}
    for slot, spec in (specs | pattern.get("slots", {})).items():
        if isinstance(spec, str) and "+" in spec:
            one, other = (words[name] for name in spec[1:].split("+"))
            words[slot] = Number(one.position + other.position, one.series)
            continue
        if isinstance(spec, str) and spec.split()[0] in grammar.lexicon["series"]:
            name, limits = spec.split()
            low, high = map(int, limits.split("-"))
            words[slot] = Number(dice.pick(list(range(low, high + 1))), grammar.lexicon["series"][name])
            continue
        if isinstance(spec, Sense):
            root = spec
        elif spec.startswith("="):
            root = words[spec[1:]].root
        else:
            root = grammar.trees[dice.pick(spec.rstrip(".").split(" | "))]
        leaves = isinstance(spec, str) and spec.endswith(".")
        senses = [sense for sense in _subtree(root) if not (leaves and sense.children)]
        word = dice.word(_words(senses, root))
        if any(_akin(word, other) for other in words.values() if isinstance(other, Word)):
            raise _Unfit
        words[slot] = word
    return words


class _Sentence:
    """Fills templates with the words of a scene, exchanging those that the template says."""

    def __init__(self, words: dict[str, Any], dice: _Dice, grammar: Grammar):
        self.words, self.dice, self.grammar = words, dice, grammar
        self.exchanged: dict[str, Any] = {}
        self.contrast = ""

    def render(self, template: str) -> str:
        while macro := _MACRO.search(template):
            name, slot = macro.groups()
            options = self.grammar.macros.get(name) or self.grammar.macros[f"{name}.{self.words['be']}"]
            template = template.replace(macro[0], self.dice.pick(options).replace("#", slot or ""), 1)
        while choice := _CHOICE.search(template):
            template = template.replace(choice[0], self.dice.pick(choice[1].split("/")), 1)
        text = re.sub(r"\s+", " ", _SLOT.sub(self._fill, template))
        text = text.replace(" ,", ",").replace(" .", ".").lstrip(", ")
        if re.search(r"\b(\w+) \1\b", text):  # put on on Friday
            raise _Unfit
        return _ARTICLE.sub(r"\1n ", text[0].upper() + text[1:])

    def edit(self, slot: str, relation: str) -> None:
        """Exchange a word throughout, or leave it out, "0"."""
        self.exchanged[slot] = "" if relation == "0" else self.value(slot, relation)

    def value(self, slot: str, relation: str) -> Any:
        if slot in self.exchanged and relation in ("", "?", "^"):
            return self.exchanged[slot]
        if not relation:
            return self.words[slot]
        if slot + relation not in self.exchanged:
            exchange = self._shift if isinstance(self.words[slot], Number) else self._exchange
            self.exchanged[slot + relation] = exchange(slot, relation)
        return self.exchanged[slot + relation]

    def _exchange(self, slot: str, relation: str) -> Word:
        word: Word = self.words[slot]
        if relation in ("?", "^"):
            options = related(word, "=") + related(word, "<" if relation == "?" else ">")
            options = [option for option in options if self.dice.unseen or not option.unseen]
            return self.dice.word(options) if options and self.dice.random() < COMPOSED else word
        if relation == "<<":
            first = self.value(slot, "<")
            return self.dice.word([option for option in related(word, "<") if not _akin(option, first)])
        other = self.dice.word(related(word, relation))
        if relation == "!":
            # What somebody is doing excludes doing something else; what somebody did earlier does not.
            if slot == "V" and self.words["be"] == "was":
                raise _Unfit
            path = _lineage(other.sense, other.root)
            shared = next(sense for sense in _lineage(word.sense, word.root) if sense in path)
            self.contrast = "antonym" if shared.opposites else "co-hyponym"
        return other

    def _shift(self, slot: str, relation: str) -> Number:
        index, series = self.words[slot]
        step = int(relation[1:] or self.dice.pick([1, 2, 3]))
        index += step if relation[0] == "+" else -step
        if series is self.grammar.lexicon["series"]["weekday"]:
            return Number(index % len(series), series)
        if not 2 <= index < len(series):  # two, so that nouns stay in the plural
            raise _Unfit
        return Number(index, series)

    def _fill(self, match: re.Match[str]) -> str:
        slot, relation, form = match.groups()
        value = self.value(slot, relation or "")
        if isinstance(value, str):
            return value
        text = value.series[value.position] if isinstance(value, Number) else value.text
        if form == "s":
            return _plural(text, self.grammar.lexicon)
        return _verb(text, self.words["be"], self.grammar.lexicon)[form] if form else text


def _verb(phrase: str, be: str, lexicon: dict[str, Any]) -> dict[str, str]:
    """The forms ed, en, ing, z; and in the scene's tense T, its passive TP, its negation TN."""
    base, space, rest = phrase.partition(" ")
    stem = base + base[-1] if base in lexicon["doubling"] else base
    past = base + "d" if base.endswith("e") else _ending(stem, "ed", "never")
    ed, en = lexicon["past"].get(base, f"{past} {past}").split()
    ing = base[:-2] + "ying" if base.endswith("ie") else re.sub("(?<![eoy])e$", "", stem) + "ing"
    forms = {"ed": ed, "en": en, "ing": ing, "z": _ending(base, "s", "s|sh|ch|x|z|o")}
    if be == "is":
        forms |= {"T": f"is {ing}", "TP": f"is being {en}", "TN": f"is not {ing}"}
    else:
        forms |= {"T": ed, "TP": f"was {en}", "TN": f"did not {base}"}
    return {form: text + space + rest for form, text in forms.items()}


def _plural(noun: str, lexicon: dict[str, Any]) -> str:
    head, of, rest = noun.partition(" of ")
    before, space, last = head.rpartition(" ")
    return before + space + lexicon["plural"].get(last, _ending(last, "s", "s|sh|ch|x|z")) + of + rest


def _ending(word: str, ending: str, hissing: str) -> str:
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ie" + ending.removeprefix("e")
    return word + ("e" if re.search(f"({hissing})$", word) else "") + ending


# pairs and splits


def _triplet(pattern: dict[str, Any], dice: _Dice, grammar: Grammar) -> list[tuple[str, str, str, str]]:
    """For one hypothesis: (premise, hypothesis, label, phenomenon) of each label."""
    for _ in range(40):  # so that patterns that are harder to fill are not rarer
        try:
            words = _draw(pattern, dice, grammar)
            hypothesis = _Sentence(words, dice, grammar).render(dice.pick(pattern["h"]))
            if 4 <= len(hypothesis.split()) <= 14:
                found = [(label, *_premise(pattern, label, words, dice, grammar)) for label in LABELS]
                return [(premise, hypothesis, label, phenomenon) for label, premise, phenomenon in found]
        except _Unfit:
            continue
    raise _Unfit


def _premise(pattern: dict[str, Any], label: str, words: dict, dice: _Dice, grammar: Grammar) -> tuple[str, str]:
    """A premise and its phenomenon."""
    for _ in range(12):
        phenomenon = dice.pick(list(pattern[label]))
        template = dice.pick(pattern[label][phenomenon])
        sentence = _Sentence(words, dice, grammar)
        try:
            if template.startswith("@"):
                if len(template) > 1:
                    sentence.edit(template[1], template[2:])
                template = dice.pick(pattern["p"])
            premise = sentence.render(template)
        except _Unfit:
            continue
        if 8 <= len(premise.split()) <= 25:
            return premise, sentence.contrast if phenomenon == "contrast" else phenomenon
    raise _Unfit


def scenes(seed: int = 2016, sizes: Mapping[str, int] = SIZES) -> dict[str, pd.DataFrame]:
    """The scenes corpus: for each split a table of item_id, premise, hypothesis, label, phenomenon.

    Labels are balanced to within one in every split; no premise and no hypothesis is in two splits. The
    same seed and sizes give the same tables everywhere; the test split asks for words that the others lack.
    Raises InputError for a split other than those of SIZES, or more pairs than the grammar can make.
    """
    unknown = [name for name in sizes if name not in SIZES]
    if unknown:
        raise InputError(f"sizes: no split {unknown[0]!r}; the splits are {', '.join(SIZES)}")
    grammar = read_grammar(data_dir() / "scenes")
    used: set[str] = set()
    tables = {}
    for number, split in enumerate(SIZES):
        if split in sizes:
            dice = _Dice(seed * len(SIZES) + number, UNSEEN if split == "test" else 0.0)
            tables[split] = _split(split, sizes[split], dice, grammar, used)
    return tables


def _split(split: str, size: int, dice: _Dice, grammar: Grammar, used: set[str]) -> pd.DataFrame:
    wheel = [pattern for pattern in grammar.patterns for _ in range(pattern["weight"])]
    rows: list[tuple[float, str, str, str, str]] = []
    for _ in range(20 * size + 1000):
        if len(rows) >= size:
            break
        try:
            pairs = _triplet(dice.pick(wheel), dice, grammar)
        except _Unfit:
            continue
        texts = {pairs[0][1], *(premise for premise, *_ in pairs)}
        if len(texts) == 1 + len(pairs) and not texts & used:
            used |= texts
            rows += [(dice.random(), *pair) for pair in pairs[: size - len(rows)]]
    else:
        raise InputError(f"sizes: {size} pairs for {split} are more than the grammar makes; ask for fewer")
    table = pd.DataFrame(sorted(rows)).set_axis(["order", *_COLUMNS], axis=1).drop(columns="order")
    table.insert(0, "item_id", [f"scenes-{split}-{i:05d}" for i in range(1, size + 1)])
    return table


def write_scenes(folder: str | Path) -> None:
    """Write train.parquet, validation.parquet and test.parquet, each atomically."""
    for split, table in scenes().items():
        path = Path(folder) / f"{split}.parquet"
        part = path.with_suffix(".part")
        table.to_parquet(part, compression="zstd", index=False)
        os.replace(part, path)
