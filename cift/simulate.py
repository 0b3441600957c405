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
# label; and how often the test split takes a word that training and validation never use, where there is one.
COMPOSED = 0.4
UNSEEN = 0.5

_PREMISE_WORDS, _HYPOTHESIS_WORDS = range(8, 26), range(4, 15)
_SLOT = re.compile(r"\{(\w+)(<<|[<>=!?^]|[+-]\d?)?(?:\.(\w+))?\}")
_MACRO = re.compile(r"<(\w+)(?::(\w+[?^]?))?>")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU]|hour|honest)(?!uni|use|uku|eu|one)")


@dataclass(eq=False)
class Sense:
    """A node of a lexical tree: its synonyms (with "kept from training?"), and its place."""

    words: list[tuple[str, bool]]
    parent: Sense | None
    overlapping: bool
    opposites: bool
    children: list[Sense] = field(default_factory=list)


class Word(NamedTuple):
    text: str
    unseen: bool
    sense: Sense
    root: Sense  # of the tree it was drawn from, which bounds what it may be exchanged for


class Number(NamedTuple):
    """A member of an ordered series, such as two or Tuesday."""

    index: int
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
        self._random, self.unseen = random.Random(seed), unseen

    def chance(self, p: float) -> bool:
        return self._random.random() < p

    def pick(self, options: list) -> Any:
        if not options:
            raise _Unfit
        return options[int(self._random.random() * len(options))]

    def word(self, options: list[Word]) -> Word:
        kept = [word for word in options if word.unseen]
        if kept and self.chance(self.unseen):
            return self.pick(kept)
        return self.pick(options if self.unseen else [word for word in options if not word.unseen])

    def shuffled(self, rows: list) -> list:
        order = sorted((self._random.random(), i) for i in range(len(rows)))
        return [rows[i] for _, i in order]


# the lexicon


def read_grammar(folder: Path) -> Grammar:
    """The lexicon and the patterns of a folder; every fourth leaf and every third synonym is kept from training."""
    import yaml

    lexicon = yaml.safe_load((folder / "lexicon.yaml").read_text(encoding="utf-8"))
    patterns = yaml.safe_load((folder / "patterns.yaml").read_text(encoding="utf-8"))
    kept: dict[str, bool] = dict.fromkeys(lexicon["always"], False)
    counts = {"leaf": 0, "synonym": 0}

    def keep(text: str, kind: str, every: int) -> tuple[str, bool]:
        if text not in kept:
            counts[kind] += 1
            kept[text] = counts[kind] % every == 0
        return text, kept[text]

    def grow(spec: Any, parent: Sense | None) -> Sense:
        name, below = next(iter(spec.items())) if isinstance(spec, dict) else (spec, [])
        texts = [text.strip() for text in name.replace("~", "").split("=")]
        if below:
            kept.setdefault(texts[0], False)
        words = [keep(texts[0], "leaf", 4), *(keep(text, "synonym", 3) for text in texts[1:])]
        words = [] if name.startswith("_") else words
        sense = Sense(words, parent, "~" in name, name.startswith("_opposites"))
        items = [{key: value} for key, value in below.items()] if isinstance(below, dict) else below
        for item in items:
            singles = [{key: value} for key, value in item.items()] if isinstance(item, dict) else [item]
            sense.children += [grow(single, sense) for single in singles]
        return sense

    trees: dict[str, Sense] = {}
    for key, value in lexicon["trees"].items():
        for sense in _tree(grow({key: value}, None)):
            if sense.children and sense.words:
                trees.setdefault(sense.words[0][0], sense)
        if key.startswith("_"):
            trees[key.strip("~")] = grow({key: value}, None)
    for bundle in lexicon["bundles"].values():
        for record in bundle:
            record.update({k: grow({"_~": v}, None) for k, v in record.items() if isinstance(v, list)})
    return Grammar(lexicon, trees, patterns["patterns"], patterns["macros"])


def _tree(sense: Sense) -> Iterator[Sense]:
    yield sense
    for child in sense.children:
        yield from _tree(child)


def _lineage(sense: Sense, root: Sense) -> list[Sense]:
    """The senses above, nearest first, up to and including the root."""
    above: list[Sense] = []
    while sense is not root and sense.parent is not None:
        sense = sense.parent
        above.append(sense)
    return above


def _words(senses: list[Sense], root: Sense) -> list[Word]:
    return [Word(text, unseen, sense, root) for sense in senses for text, unseen in sense.words]


def related(word: Word, relation: str) -> list[Word]:
    """The words more specific "<", more general ">", of the same meaning "=", or excluded "!" by a word."""
    sense, root = word.sense, word.root
    if relation == "<":
        return _words(list(_tree(sense))[1:], root)
    if relation == ">":
        return _words(_lineage(sense, root), root)
    if relation == "=":
        return [other for other in _words([sense], root) if other.text != word.text]
    path = [sense, *_lineage(sense, root)]
    rivals = [s for own, up in zip(path, path[1:], strict=False) if not up.overlapping for s in up.children if s is not own]
    return _words([s for rival in rivals for s in _tree(rival)], root)


def _akin(one: Word, other: Word) -> bool:
    """Whether two words are the same or one lies above the other."""
    if one.text == other.text:
        return True
    return other.sense in [one.sense, *_lineage(one.sense, one.root)] or one.sense in _lineage(other.sense, other.root)


# drawing the words of a scene


def _draw(pattern: dict[str, Any], dice: _Dice, grammar: Grammar) -> dict[str, Any]:
    specs = dict(dice.pick(grammar.lexicon["bundles"][pattern["from"]])) if "from" in pattern else {}
    tense = pattern.get("tense", specs.pop("tense", None)) or dice.pick(["is", "was"])
    roots: dict[str, Sense] = {}
    words: dict[str, Any] = {"be": tense, "were": {"is": "are", "was": "were"}[tense]}
    for slot, spec in (specs | pattern.get("slots", {})).items():
        if isinstance(spec, str) and "+" in spec:
            terms = [words[name] for name in spec[1:].split("+")]
            words[slot] = Number(sum(term.index for term in terms), terms[0].series)
            continue
        if isinstance(spec, str) and spec.split()[0] in grammar.lexicon["series"]:
            name, limits = spec.split()
            low, high = map(int, limits.split("-"))
            words[slot] = Number(dice.pick(list(range(low, high + 1))), grammar.lexicon["series"][name])
            continue
        leaves_only = isinstance(spec, str) and spec.endswith(".")
        roots[slot] = root = _root(spec, roots, dice, grammar)
        senses = [sense for sense in _tree(root) if not (leaves_only and sense.children)]
        words[slot] = dice.word(_words(senses, root))
        if any(_akin(words[slot], word) for other, word in words.items() if other != slot and isinstance(word, Word)):
            raise _Unfit
    return words


def _root(spec: Any, roots: dict[str, Sense], dice: _Dice, grammar: Grammar) -> Sense:
    if isinstance(spec, Sense):
        return spec
    if spec.startswith("="):
        return roots[spec[1:]]
    return grammar.trees[dice.pick(spec.rstrip(".").split(" | "))]


class _Sentence:
    """Renders a premise's or hypothesis's template over the words of the scene, some of them replaced."""

    def __init__(self, words: dict[str, Any], dice: _Dice, grammar: Grammar):
        self.words, self.dice, self.grammar = words, dice, grammar
        self.drawn: dict[str, Any] = {}
        self.contrast = ""

    def replace(self, edit: str) -> None:
        """Carry out an edit such as "O<" for good; "M0" leaves the slot out."""
        if edit:
            self.drawn[edit[0]] = "" if edit[1] == "0" else self.value(edit[0], edit[1])

    def value(self, slot: str, relation: str) -> Any:
        if slot in self.drawn and relation in ("", "?", "^"):
            return self.drawn[slot]
        if not relation or isinstance(self.words[slot], str):
            return self.words[slot]
        if slot + relation not in self.drawn:
            self.drawn[slot + relation] = self._exchange(slot, self.words[slot], relation)
        return self.drawn[slot + relation]

    def _exchange(self, slot: str, word: Any, relation: str) -> Any:
        if isinstance(word, Number):
            return _shifted(word, relation, self.dice)
        if relation in ("?", "^"):
            options = related(word, "=") + related(word, "<" if relation == "?" else ">")
            fit = [option for option in options if self.dice.unseen or not option.unseen]
            return self.dice.word(fit) if fit and self.dice.chance(COMPOSED) else word
        if relation == "<<":
            first = self.value(slot, "<")
            return self.dice.word([option for option in related(word, "<") if not _akin(option, first)])
        other = self.dice.word(related(word, relation))
        if relation == "!":
            # What somebody did earlier or later excludes little; what somebody is doing does.
            if slot == "V" and self.words["be"] == "was":
                raise _Unfit
            shared = [up for up in _lineage(word.sense, word.root) if up in _lineage(other.sense, other.root)]
            self.contrast = "antonym" if shared[0].opposites else "co-hyponym"
        return other

    def render(self, template: str) -> str:
        while macro := _MACRO.search(template):
            name, slot = macro.groups()
            options = self.grammar.macros.get(name) or self.grammar.macros[f"{name}.{self.words['be']}"]
            text = self.dice.pick(options).replace("#", slot or "")
            template = template[: macro.start()] + text + template[macro.end() :]
        while choice := _CHOICE.search(template):
            template = template[: choice.start()] + self.dice.pick(choice[1].split("/")) + template[choice.end() :]
        text = _SLOT.sub(self._fill, template)
        text = re.sub(r"\s+([,.])", r"\1", re.sub(r"\s+", " ", text)).strip()
        text = re.sub(r"^,\s*", "", text)
        text = text[0].upper() + text[1:]
        return _ARTICLE.sub(r"\1n ", text)

    def _fill(self, match: re.Match[str]) -> str:
        slot, relation, form = match.groups()
        value = self.value(slot, relation or "")
        if isinstance(value, str):
            return value
        text = value.series[value.index] if isinstance(value, Number) else value.text
        return _inflect(text, form, self.words["be"], self.grammar.lexicon) if form else text


def _shifted(number: Number, relation: str, dice: _Dice) -> Number:
    cyclic = number.series[0] == "Monday"
    step = int(relation[1:]) if relation[1:] else dice.pick([1, 2, 3])
    index = number.index + (step if relation[0] == "+" else -step)
    if cyclic:
        return Number(index % len(number.series), number.series)
    if not 2 <= index < len(number.series):
        raise _Unfit
    return Number(index, number.series)


def _inflect(text: str, form: str, be: str, lexicon: dict[str, Any]) -> str:
    head, _, rest = text.partition(" ")
    rest = f" {rest}" if rest else ""
    if form == "s":
        return _plural(text, lexicon)
    forms = _verb(head, lexicon)
    if form in forms:
        return forms[form] + rest
    present = {"T": "is {ing}", "TP": "is being {en}", "TN": "is not {ing}", "TPN": "is not being {en}"}
    past = {"T": "{ed}", "TP": "was {en}", "TN": "did not " + head, "TPN": "was not {en}"}
    return (present if be == "is" else past)[form].format(**forms) + rest


def _verb(base: str, lexicon: dict[str, Any]) -> dict[str, str]:
    """Past tense, past participle, -ing form and third person of a verb."""
    stem = base + base[-1] if base in lexicon["doubling"] else base
    ing = base[:-2] + "ying" if base.endswith("ie") else stem + "ing"
    if base.endswith("e") and not base.endswith(("ie", "ee", "ye", "oe")):
        ing = base[:-1] + "ing"
    third = base + ("es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")
    past = base + "d" if base.endswith("e") else stem + "ed"
    if base.endswith("y") and base[-2] not in "aeiou":
        third, past = base[:-1] + "ies", base[:-1] + "ied"
    ed, en = lexicon["past"][base].split() if base in lexicon["past"] else (past, past)
    return {"ed": ed, "en": en, "ing": ing, "z": third}


def _plural(noun: str, lexicon: dict[str, Any]) -> str:
    first, _, rest = noun.partition(" of ")
    if rest:
        return f"{_plural(first, lexicon)} of {rest}"
    before, space, last = noun.rpartition(" ")
    if last in lexicon["plural"]:
        return before + space + lexicon["plural"][last]
    if last.endswith("y") and last[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if last.endswith(("s", "sh", "ch", "x", "z")) else "s")


# pairs and splits


def _triplet(pattern: dict[str, Any], dice: _Dice, grammar: Grammar) -> tuple[str, list[tuple[str, str, str]]]:
    """One hypothesis, and (premise, phenomenon, label) for each label."""
    for _ in range(40):  # so that patterns that are harder to fill are not rarer
        try:
            words = _draw(pattern, dice, grammar)
            hypothesis = _Sentence(words, dice, grammar).render(dice.pick(pattern["h"]))
            if len(hypothesis.split()) in _HYPOTHESIS_WORDS:
                return hypothesis, [(*_premise(pattern, label, words, dice, grammar), label) for label in LABELS]
        except _Unfit:
            continue
    raise _Unfit


def _premise(pattern: dict[str, Any], label: str, words: dict, dice: _Dice, grammar: Grammar) -> tuple[str, str]:
    for _ in range(12):
        phenomenon = dice.pick(list(pattern[label]))
        template = dice.pick(pattern[label][phenomenon])
        sentence = _Sentence(words, dice, grammar)
        try:
            if template.startswith("@"):
                sentence.replace(template[1:])
                template = dice.pick(pattern["p"])
            premise = sentence.render(template)
        except _Unfit:
            continue
        if len(premise.split()) in _PREMISE_WORDS:
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
    wheel = [pattern for pattern in grammar.patterns for _ in range(pattern["weight"])]
    used: set[str] = set()
    tables = {}
    for number, split in enumerate(SIZES):
        if split in sizes:
            dice = _Dice(seed * len(SIZES) + number, UNSEEN if split == "test" else 0.0)
            tables[split] = _split(split, sizes[split], wheel, dice, grammar, used)
    return tables


def _split(split: str, size: int, wheel: list, dice: _Dice, grammar: Grammar, used: set[str]) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for _ in range(100 * size + 1000):
        if len(rows) >= size:
            break
        try:
            hypothesis, premises = _triplet(dice.pick(wheel), dice, grammar)
        except _Unfit:
            continue
        texts = [hypothesis, *(premise for premise, _, _ in premises)]
        if len(set(texts)) < len(texts) or any(text in used for text in texts):
            continue
        used.update(texts)
        for premise, phenomenon, label in premises[: size - len(rows)]:
            rows.append({"premise": premise, "hypothesis": hypothesis, "label": label, "phenomenon": phenomenon})
    else:
        raise InputError(f"sizes: {size} pairs for {split} are more than the grammar can make; ask for fewer")
    rows = dice.shuffled(rows)
    table = pd.DataFrame(rows, columns=["premise", "hypothesis", "label", "phenomenon"])
    table.insert(0, "item_id", [f"scenes-{split}-{i:05d}" for i in range(1, size + 1)])
    return table


def write_scenes(folder: str | Path) -> None:
    """Write train.parquet, validation.parquet and test.parquet, each atomically."""
    for split, table in scenes().items():
        path = Path(folder) / f"{split}.parquet"
        part = path.with_suffix(".part")
        table.to_parquet(part, compression="zstd", index=False)
        os.replace(part, path)
