"""A card's numbers are those of the data, public data brings its own provenance, and silence is said to be silence."""

import hashlib
import json

import pandas as pd
import pytest
import yaml

from cift import bias
from cift.cards import NOT_STATED, QUESTIONS, content_hash, data_card
from cift.corpora import load_corpus, overlap, to_dataset
from cift.crowds import load_crowd
from cift.errors import InputError
from cift.fetch import REGISTRY


def sections(card: str) -> dict[str, list[list[str]]]:
    """Heading -> the cells of all table rows below it, without those of dashes."""
    found: dict[str, list[list[str]]] = {}
    for line in card.split("---\n", 2)[2].splitlines():
        if line.startswith("#"):
            rows = found.setdefault(line.lstrip("# "), [])
        elif line.startswith("|") and set(line) - set("|- "):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


@pytest.fixture(scope="module")
def splits():
    return {split: load_corpus("scenes", split) for split in ("validation", "test")}


def test_numbers_are_those_of_the_data(splits):
    told = sections(data_card(splits, "scenes", languages=["en"]))
    about = {key: value for key, value in told["Data card: scenes"] if key}
    tables = {split: data.to_pandas() for split, data in splits.items()}
    for (split, table), row in zip(tables.items(), told["Pairs"][1:], strict=True):
        assert row == [split, str(len(table)), *(str((table["label"] == code).sum()) for code in range(3))]
        assert about[f"content of {split}"] == content_hash(splits[split])
    sides = [(split, side) for split in tables for side in ("premise", "hypothesis")]
    for (split, side), row in zip(sides, told["Length in words"][1:], strict=True):
        words = sorted(len(text.split()) for text in tables[split][side])
        place = [0, (len(words) - 1) // 2, int(0.95 * (len(words) - 1)), -1]
        assert row == [split, side, *(str(words[i]) for i in place)]
    letters = sum(letter.isalpha() for table in tables.values() for side in sides[:2] for text in table[side[1]]
                  for letter in text)  # fmt: skip
    assert told["Writing"][1] == ["latin", str(letters), "100.00%"]
    assert told["Repeated pairs"][1:3] == [["validation", "0", "0"], ["test", "0", "0"]]
    assert told["Repeated pairs"][4][2] == str(len(overlap(splits["test"], splits["validation"])))
    assert about["licence"] == "CC BY 4.0"


def test_header_is_what_the_hub_reads(splits):
    header = yaml.safe_load(data_card(splits, "scenes", languages=["en"]).split("---\n")[1])
    assert header == {
        "pretty_name": "scenes",
        "language": ["en"],
        "license": "cc-by-4.0",
        "task_categories": ["text-classification"],
        "task_ids": ["natural-language-inference"],
        "size_categories": ["1K<n<10K"],
    }
    other = yaml.safe_load(data_card(splits, "mine", licence="ask: me").split("---\n")[1])
    assert (other["license"], other["license_name"]) == ("other", "ask: me")
    assert yaml.safe_load(data_card(splits, "mine").split("---\n")[1])["license"] == "unknown"


def corpus(*rows):
    return to_dataset(pd.DataFrame(rows, columns=["premise", "hypothesis", "label"]))


def test_repeats_are_counted_within_and_across():
    train = corpus(("A dog", "b", "neutral"), ("a  DOG", "B", "entailment"), ("x", "y", "neutral"))
    test = corpus(("a dog", "b", "neutral"), ("x", "z", "neutral"), ("Ж|q", "r", "neutral"))
    told = sections(data_card({"train": train, "test": test}, "mine"))
    assert told["Repeated pairs"] == [
        ["split", "pairs repeated", "pairs with different labels"],
        ["train", "1", "1"],
        ["test", "0", "0"],
        ["split", "also in", "pairs", "pairs with a premise from there"],
        ["test", "train", "1", "2"],
    ]
    assert [row[0] for row in told["Writing"][1:]] == ["latin", "cyrillic"]


def test_content_hash_is_of_the_rows_in_order():
    one, other = ("p", "h", "neutral"), ("ü", "h", "entailment")
    lines = [
        {"hypothesis": "h", "item_id": "row-1", "label": "neutral", "premise": "p"},
        {"hypothesis": "h", "item_id": "row-2", "label": "entailment", "premise": "ü"},
    ]
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    assert content_hash(corpus(one, other)) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert content_hash(corpus(one, other)) != content_hash(corpus(other, one))
    assert content_hash(corpus(one, other).select([0])) == content_hash(corpus(one))


def test_public_data_brings_its_provenance():
    told = sections(data_card(corpus(("p", "h", "neutral")), "sick"))
    files = [entry for entry in REGISTRY.values() if entry.dataset == "sick"]
    assert told["Files"][1:] == [[entry.file, str(entry.bytes), entry.hash, entry.url] for entry in files]
    about = dict(told["Data card: sick"])
    assert (about["licence"], about["citation"]) == (files[0].licence, files[0].citation)
    assert dict(sections(data_card(corpus(("p", "h", "neutral")), "snli-full"))["Data card: snli-full"])[
        "citation"
    ].startswith("Bowman")
    name = "snli-from-our-clinic"
    own = dict(sections(data_card(corpus(("p", "h", "neutral")), name))[f"Data card: {name}"])
    assert own["licence"] == own["citation"] == own["source"] == NOT_STATED
    assert "Files" not in sections(data_card(corpus(("p", "h", "neutral")), "snlish"))


def test_what_nobody_said_is_not_stated():
    card = data_card(corpus(("p", "h", "neutral")), "mine", notes={"pay": "9 dollars an hour"})
    assert card.count(NOT_STATED) == 4 + 1 + len(QUESTIONS) - 1  # provenance, shortcuts, questions but one
    assert "**What were they paid?** 9 dollars an hour" in card
    with pytest.raises(InputError, match="note 'wage'.*purpose, collection"):
        data_card(corpus(("p", "h", "neutral")), "mine", notes={"wage": "?"})
    with pytest.raises(InputError, match="no pairs in all"):
        data_card(corpus(("p", "h", "neutral")).select([]), "mine")


def test_personal_data_and_crowd_are_told_without_the_ids():
    pairs = corpus(("Write to jane@example.org", "h", "neutral"), ("p", "h", "neutral"))
    crowd = pd.DataFrame(
        {"row-1": ["neutral", "neutral"], "row-2": [None, "entailment"]},
        index=pd.Index(["A2K5ICP43ML4PW", "w002"], name="respondent"),
    )
    card = data_card(pairs, "mine", crowd=crowd)
    told = sections(card)
    assert told["Personal data"][1:] == [
        ["all", "premise", "e-mail", "1"],
        ["crowd", "respondent", "Mechanical Turk id", "1"],
    ]
    assert [value for _, value in told["Crowd"]] == ["2", "2", "3", "1 to 2", "1 to 2", "1"]
    assert "jane" not in card and "ICP" not in card
    assert "Nothing was found" in data_card(pairs.select([1]), "mine")


def test_embedded_crowd_is_pseudonymous():
    responses = load_crowd("probes")["G5"].responses
    told = dict(sections(data_card(load_corpus("probes"), "probes", crowd=responses))["Crowd"])
    assert told["respondents"] == str(len(responses)) and told["answers"] == str(responses.count().sum())
    assert list(told.values())[-1] == "0"


def test_shortcuts_are_the_table_given(splits):
    table = bias.shortcuts(splits["test"], splits["validation"])
    rows = sections(data_card(splits, "scenes", shortcuts=table))["Shortcuts"][1:]
    assert [row[0] for row in rows] == list(table["reads"])
    assert [float(row[2]) for row in rows] == pytest.approx(table["accuracy"], abs=5e-4)


def test_line_ends_do_not_break_a_table():
    told = sections(data_card(corpus(("p", "h", "neutral")), "mine", citation="Doe (2020).\nA title."))
    assert dict(told["Data card: mine"])["citation"] == "Doe (2020). A title."
