"""Sentences rewritten offline: a word exchanged, the sentence rephrased, a translation there and back.

The words are those of the scenes corpus's lexicon (data/scenes), the paraphrases and the bilingual dictionary those
of data/augmentation. What a word stands for is guessed from its neighbours; there is no parser behind it.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from cift.corpora import data_dir
from cift.simulate import _ARTICLE, Word, _plural, _verb, read_grammar, related

Rewriter = Callable[[list[str], int], list[str]]
"""From sentences and a seed to as many sentences; one that it cannot change it gives back as it is."""

RELATIONS = {"synonym": "=", "hypernym": ">", "hyponym": "<", "careless synonym": "~"}
_DIRECTION = {"=": "same", ">": "weaker", "<": "stronger", "~": "other"}
_TURNED = {"weaker": "stronger", "stronger": "weaker"}
_IRREGULAR = {"person": "people"}
_NOUN_TREES = {"_job", "_crowd", "_reading", "_closable", "_mail", "_wall", "_small", "_pouch", "_holder", "_event",
               "_wife", "_husband"}  # fmt: skip
_VERB_TREES = {"_deed", "_feeling", "_errand", "_doing", "_visiting", "_arrive"}
_DETERMINERS = set(
    "a an the his her their its my our your this that no every each one two three four five six seven eight nine ten "
    "some several many few any another single both of".split()
)
_ADVERBS = {"hard", "long", "short", "light", "clean", "dry", "open"}  # "work hard", but "is hard"
_COMPOUNDS = {  # never touched: the word means something else here
    "hard hat", "hot dog", "polar bear", "toy store", "dishes", "ice cream", "little league", "present day", "single",
}  # fmt: skip


class Form(NamedTuple):
    """A written form: of which word (its base), as what kind (noun, verb, other), in which of its forms."""

    base: str
    kind: str
    form: str


class Change(NamedTuple):
    """A sentence with one word replaced, and what the new sentence is to the old one."""

    text: str
    old: str
    new: str
    direction: str


# words and their forms


@cache
def _grammar() -> Any:
    return read_grammar(data_dir() / "scenes")


@cache
def _yaml(name: str) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((data_dir() / "augmentation" / name).read_text(encoding="utf-8"))


@cache
def _forms(base: str, kind: str) -> dict[str, str]:
    """A word's forms by name. A verb's present and past with "be" are forms of it, too."""
    lexicon = _grammar().lexicon
    if kind == "noun":
        return {"": base, "s": _IRREGULAR.get(base) or re.sub("mans$", "men", _plural(base, lexicon))}
    if kind == "other":
        return {"": base}
    verb = {"base": base} | {form: _verb(base, "is", lexicon)[form] for form in ("ed", "en", "ing", "z")}
    for be in ("is", "are", "was", "were"):
        verb |= {f"{be} ing": f"{be} {verb['ing']}", f"{be} being en": f"{be} being {verb['en']}"}
        verb |= {f"{be} en": f"{be} {verb['en']}"}
    return verb


@cache
def _senses() -> dict[tuple[str, str], list[Word]]:
    """The lexicon's words by (text, kind), one for each tree that they stand in."""
    found: dict[tuple[str, str], list[Word]] = defaultdict(list)

    def collect(sense: Any, root: Any, kind: str) -> None:
        for text, unseen in sense.words:
            found[text, kind].append(Word(text, unseen, sense, root))
        for child in sense.children:
            collect(child, root, kind)

    grammar = _grammar()
    for name in (key.strip("~") for key in grammar.lexicon["trees"]):
        noun = not name.startswith("_") or name in _NOUN_TREES
        kind = "noun" if noun else "verb" if name in _VERB_TREES else "other"
        collect(grammar.trees[name], grammar.trees[name], kind)
    for record in (record for bundle in grammar.lexicon["bundles"].values() for record in bundle):
        for slot, spec in record.items():
            if not isinstance(spec, str):
                collect(spec, spec, {"V": "verb", "S": "noun"}.get(slot, "other"))
    return dict(found)


def _index(words: Iterable[tuple[str, str]]) -> dict[str, list[Form]]:
    index: dict[str, list[Form]] = defaultdict(list)
    for base, kind in words:
        for form, text in _forms(base, kind).items():
            index[text.lower()].append(Form(base, kind, form))
    return dict(index)


def _found(sentence: str, index: dict[str, list[Form]]) -> Iterator[tuple[int, int, list[Form]]]:
    """Where words of an index stand, longest first and without overlap, and which forms they can be there."""
    spans = [match.span() for match in re.finditer(r"[\w'-]+", sentence)]
    i = 0
    while i < len(spans):
        before = sentence[: spans[i][0]].lower().split()
        for j in range(min(i + 6, len(spans)), i, -1):
            start, end = spans[i][0], spans[j - 1][1]
            after = sentence[end:].lower().split()
            forms = [form for form in index.get(sentence[start:end].lower(), []) if _fits(form, before, after)]
            whole = f"{sentence[start:end]} {after[0].strip('.,') if after else ''}".lower()
            if forms and whole not in _COMPOUNDS and sentence[start:end].lower() not in _COMPOUNDS:
                yield start, end, forms
                i = j - 1
                break
        i += 1


def _fits(form: Form, before: list[str], after: list[str]) -> bool:
    """Whether a form can be meant between these words: nouns after a determiner, bare verbs after "to" or "not"."""
    last = before[-1].strip(",") if before else ""
    described = last in _DETERMINERS or (last, "other") in _senses()
    if form.kind == "noun":
        return described or (last, "noun") in _senses() or (form.form == "s" and not last.endswith("'s"))
    if form.kind == "verb":
        bare = last in {"to", "not", "didn't", "don't", "doesn't", "did", "can", "will", "and"}
        return not described and (form.form != "base" or bare)
    if form.base in _surfaces("verb", "ed") or form.base in _ADVERBS:  # "is closed", not "closed the door"
        return last in {"is", "are", "was", "were", "not"}
    return bool(after) or not described  # an adjective after a determiner has a noun after it


def _tidy(text: str) -> str:
    """The sentence with a capital first, and "a" or "an" as the next word's first sound asks."""
    text = re.sub(r"\b([Aa])n (?=(?!hour|honest|heir)[^aeiouAEIOU\W]|uni(?![dmn])|use|uku|eu|one)", r"\1 ", text)
    text = _ARTICLE.sub(r"\1n ", text)
    return text[:1].upper() + text[1:]


# one word


@cache
def _alternatives(form: Form, relation: str) -> tuple[str, ...]:
    """What a word may be replaced by, in the same form. A word with several meanings: what fits all of them."""
    options = [{other.text for other in _others(word, relation)} for word in _senses()[form.base, form.kind]]
    options = [texts for texts in options if texts] or [set()]
    either = form.kind == "noun" and relation in "<>~"
    texts = set.union(*options) if either else set.intersection(*options)
    return tuple(sorted(_forms(text, form.kind)[form.form] for text in texts - {form.base}))


def _others(word: Word, relation: str) -> list[Word]:
    if relation != "~":
        return related(word, relation)
    siblings = word.sense.parent.children if word.sense.parent else []
    return [Word(text, unseen, sense, word.root) for sense in siblings for text, unseen in sense.words]


def replacements(sentence: str, relation: str) -> list[Change]:
    """Every sentence that replaces one word by a synonym "=", a more general ">", more specific "<" or sibling "~" one.

    Siblings are co-hyponyms and antonyms: what embeddings also call similar. The direction says what the new sentence
    is to the old one: "same" in truth, "weaker" (entailed by it), "stronger" (entailing it), "excluded" (both cannot
    be true of one scene), "other" (a sibling that may be true as well, or a context, such as "most of the", that this
    small logic does not follow).
    """
    changes = []
    for start, end, forms in _found(sentence, _lexicon()):
        before, old, after = sentence[:start], sentence[start:end], sentence[end:]
        direction = _direction(relation, before.lower(), after.lower())
        rivals = {new for form in forms for new in _alternatives(form, "!") if _excludes(form, f"{before}*{after}")}
        for new in sorted(set.intersection(*(set(_alternatives(form, relation)) for form in forms))):
            exactly = "excluded" if relation == "~" and new in rivals else direction
            changes.append(Change(_tidy(before + new + after), old, new, exactly))
    return changes


def _excludes(form: Form, context: str) -> bool:
    """Whether a rival word makes the sentence false of the same scene: not if it speaks of some, or of what was."""
    loose = r"\b(?:no|not|never|none|some|all|every|each|most|half|least|fewer|one|there|or|than|because)\b|n't\b"
    finished = form.kind == "verb" and form.form in ("ed", "was ing", "were ing", "was en", "base")
    return not finished and not re.search(loose, context.lower())


@cache
def _lexicon() -> dict[str, list[Form]]:
    return _index(_senses())


def _direction(relation: str, before: str, after: str) -> str:
    """What exchanging a word does to the sentence; negation and "every" turn it round (monotonicity)."""
    direction = _DIRECTION[relation]
    unclear = r"\b(most|half|exactly|only|hardly|than|if|whether|either|or|but|because)\b"
    if direction in ("same", "other"):
        return direction
    if re.search(unclear, f"{before}*{after}"):
        return "other"
    negations = len(re.findall(r"\b(?:no|not|never|none|neither|nor|nobody|without|fewer than)\b|n't\b", before))
    restricts = re.search(r"\b(?:all|every|each)(?: single)?(?: of)?(?: the)? $", before)
    return _TURNED[direction] if (negations + bool(restricts)) % 2 else direction


def _replacing(relation: str) -> Rewriter:
    def rewrite(sentences: list[str], seed: int) -> list[str]:
        dice = random.Random(seed)
        rewritten = []
        for sentence in sentences:
            by_word = defaultdict(list)
            for change in replacements(sentence, relation):
                by_word[change.old].append(change.text)
            rewritten.append(dice.choice(dice.choice(list(by_word.values()))) if by_word else sentence)
        return rewritten

    return rewrite


# sentences

_SLOT = re.compile(r"\{(\w!?)(?:\.(\w+))?\}")
_CLOSED = (
    r"(?:a|an|the|his|her|is|are|was|were|did|and|or|by|with|to|from|of|in|on|at|not|never|no|who|that|than|both"
    r"|either)\b"
)
_WORDS = rf"(?:(?!{_CLOSED})[\w-]+ ){{0,3}}?(?!{_CLOSED})[\w-]+(?: of (?!the\b)[\w-]+)?"
_NUMBER = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_DAY = re.compile(r"\b(?i:mon|tues|wednes|thurs|fri|satur|sun)day\b")
_SHAPES = {
    **dict.fromkeys("XYZ", rf"(?:a|an|the|his|her) {_WORDS}(?<![^su]s)(?<!men)(?<!ren)(?<!people)"),
    "T": rf"the {_WORDS}(?<!s)",
    "L": rf"the {_WORDS}(?<=s)",
    "M": rf"(?!{_CLOSED}){_WORDS}(?: (?:in|on|with|at) (?:a|an|the) {_WORDS})??",
    "G": r"(?!during|morning|evening)\w+ing\b[^,]*",
    "R": "(?: [^,]*)?",
    "S": r"[^,]+(?<! is)(?<! was)(?<! are)(?<! were)(?<! than)(?<! looking)(?<! at)",
    "B": "is|was",
    "K": _NUMBER,
    "O": rf"some|several|many|a few|{_NUMBER}",
    "H": "his|her",
    "D": _DAY.pattern,
}
_PREPOSITIONS = "in on at near behind beside by next along right".split()
_OPENING = re.compile(
    rf"(?:{_CLOSED}|(?:there|it|they|he|she|we|some|all|every|everyone|most|many|several|few|none|nobody|someone|people|men"
    rf"|women|children|kids|boys|girls|dogs|more|fewer|each|next|outdoors|indoors|outside|inside|{_NUMBER})\b)",
    re.IGNORECASE,
)  # a first word that is no name
_TAIL = r"(?:,? (?:while|as) (?!well).*|, (?:and nobody|to the|which (?:is|was) no) .*)?"


@cache
def _surfaces(kind: str, form: str) -> dict[str, str]:
    """Base by written form, for the template slots N, V and A."""
    bases = sorted({base for base, of in _senses() if of == kind})
    if kind == "other":
        bases = [base for base in bases if _alternatives(Form(base, kind, ""), "!")]
    if kind == "verb":  # "wash" besides "wash the dishes"
        bases += sorted({base.split()[0] for base in bases} - set(bases))
    return {_forms(base, kind)[form].lower(): base for base in bases}


@cache
def _places() -> str:
    """Pattern of the lexicon's places and times, and of the simplest others."""
    known = {base for base, kind in _senses() if kind == "other" and base.split()[0] in _PREPOSITIONS}
    listed = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    simple = r"(?:in|on|at|near|behind|beside|outside|inside) the [\w-]+|indoors|outdoors|outside|inside"
    return f"(?:{listed}|{simple})"


def _slot_shape(name: str, form: str | None) -> str:
    kind = {"N": "noun", "V": "verb", "W": "verb", "A": "other"}.get(name)
    if name in "PQ":
        return f"(?: {_places()})?" if name == "P" else _places()
    if kind is None:
        return _SHAPES[name]
    surfaces = sorted(_surfaces(kind, form or ""), key=len, reverse=True)
    described = rf"(?:(?!{_CLOSED})[\w-]+ ){{0,2}}?" if kind == "noun" else ""
    return f"{described}(?:{'|'.join(map(re.escape, surfaces))})"


@cache
def _templates() -> list[list[tuple[str, re.Pattern[str]]]]:
    def shape(template: str) -> re.Pattern[str]:
        pattern = _SLOT.sub(lambda slot: f"(?P<{slot[1]}>{_slot_shape(slot[1], slot[2])})", template)
        return re.compile(rf"{pattern}(?P<tail>{_TAIL})")

    rules = _yaml("paraphrases.yaml")["sentences"]
    return [[(t, shape(t.replace("{A!}", "{A}"))) for t in rule] for rule in rules]


def paraphrases(sentence: str) -> list[str]:
    """Every sentence that data/augmentation/paraphrases.yaml makes of one: other voice, order, quantifier words, ...

    Truth conditions are those of the original one as the scenes corpus reads it: definite descriptions and "some" in
    the plain way, nobody else by the same description in the scene.
    """
    lower = sentence[:1].lower() + sentence[1:] if _OPENING.match(sentence) else sentence
    body, stop = (lower[:-1], lower[-1]) if lower.endswith((".", "!")) else (lower, "")
    found = []
    for rule in _templates():
        for template, pattern in rule:
            if match := pattern.fullmatch(body):
                others = [other for other, _ in rule if other != template]
                found += [_write(other, template, match) + match["tail"] + stop for other in others]
                break
    for phrases in _yaml("paraphrases.yaml")["anywhere"]:
        for one, other in (phrases, phrases[::-1]):
            found += [lower[: m.start()] + other + lower[m.end() :] for m in re.finditer(rf"\b{one}\b", lower)]
    tidy = {_tidy(_DAY.sub(lambda day: day[0].title(), re.sub(r" +", " ", text))) for text in found}
    return sorted(tidy - {sentence})


def _write(template: str, read: str, match: re.Match[str]) -> str:
    """The template, with what another one has read."""
    forms = {slot[1][0]: slot[2] or "" for slot in _SLOT.finditer(read)}

    def fill(slot: re.Match[str]) -> str:
        name, form = slot[1][0], slot[2] or ""
        text: str = match[name] or ""
        kind = {"N": "noun", "V": "verb", "W": "verb", "A": "other"}.get(name)
        if kind is None:
            return text
        surfaces = _surfaces(kind, forms[name])
        base = next(surfaces[text[i:]] for i in range(len(text)) if text[i:] in surfaces)
        described = text[: len(text) - len(_forms(base, kind)[forms[name]])]
        if kind == "other" and slot[1].endswith("!") != ("A!" in read):
            base = _alternatives(Form(base, "other", ""), "!")[0]
        return described + _forms(base, kind)[form]

    return _SLOT.sub(fill, template)


def _paraphrase(sentences: list[str], seed: int) -> list[str]:
    dice = random.Random(seed)
    return [dice.choice(paraphrases(sentence) or [sentence]) for sentence in sentences]


# there and back

_FORM_DRIFT = {  # German has one present and one past where English has two
    "is ing": ["is ing", "z"],
    "are ing": ["are ing", "base"],
    "was ing": ["was ing", "ed"],
    "were ing": ["were ing", "ed"],
    **{f"{be} being en": [f"{be} being en", f"{be} en"] for be in ("is", "are", "was", "were")},
    "z": ["z", "is ing"],
}


@cache
def _pivot() -> tuple[dict[str, list[Form]], dict[tuple[str, str], list[list[str]]]]:
    """The index of English forms, and by (English word, kind) the German words, each as its English words."""
    back: dict[tuple[str, str], list[list[str]]] = defaultdict(list)
    for kind in ("noun", "verb", "other"):
        for english in _yaml("pivot.yaml")[f"{kind}s"].values():
            for word in dict.fromkeys(english):
                back[word, kind].append(english)
    return _index(back), dict(back)


def _back_translation(sentences: list[str], seed: int) -> list[str]:
    """Phrase by phrase through data/augmentation/pivot.yaml: a simulated translator, which knows no German syntax.

    A word goes to a German word and comes back as one of that word's English words, in the same form but for what
    German does not tell apart ("is washing", "washes"). Word order stays.
    """
    dice, (index, back) = random.Random(seed), _pivot()
    feelings = _grammar().trees["_feeling"]  # nobody is loving anybody

    def translate(sentence: str) -> str:
        parts, done = [], 0
        for start, end, forms in _found(sentence, index):
            form = forms[0]
            word = dice.choice(dice.choice(back[form.base, form.kind]))
            feeling = any(sense.root is feelings for sense in _senses().get((form.base, "verb"), []))
            drifted = form.form if feeling else dice.choice(_FORM_DRIFT.get(form.form, [form.form]))
            parts += [sentence[done:start], _forms(word, form.kind)[drifted]]
            done = end
        text = _tidy("".join([*parts, sentence[done:]]))
        return sentence if text.lower() == _tidy(sentence).lower() else text

    return [translate(sentence) for sentence in sentences]


OFFLINE: dict[str, Rewriter] = {
    **{method: _replacing(relation) for method, relation in RELATIONS.items()},
    "paraphrase": _paraphrase,
    "back-translation": _back_translation,
}
