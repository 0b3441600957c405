import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cift import cleaning
from cift.corpora import load_corpus, to_dataset
from cift.errors import InputError
from cift.files import read_table

RULES = ["mojibake, entities", "Unicode form", "invisible characters", "white space"]


def corpus_of(premises, hypotheses):
    return to_dataset(pd.DataFrame({"premise": premises, "hypothesis": hypotheses, "label": "neutral"}))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("isnâ€™t", "isn’t"),
        ("cafÃ©", "café"),
        ("Tom &amp;amp; Ann &lt;3", "Tom & Ann <3"),
        ("&am\u200bp;", "&"),  # one rule uncovers work for another
        ("cafe\u0301", "café"),
        ("ﬁsh", "fish"),
        ("\ufeffzero\u200bwidth\u202e\x07", "zerowidth"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("soft\xadly", "softly"),
        ("a\u200db", "ab"),
        (" two\xa0 \u3000words\r\n", "two words"),
        ("", ""),
    ],
)
def test_what_is_repaired(text, wanted):
    assert cleaning.clean_text(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "10³ ½ ™ № Ａ",  # NFKC would change what is said
        "“rock ’n’ roll” – 1914–18 — a well-known name…",
        "<b>&amp;</b>",  # HTML that is meant
        "👩\u200d🚀 می\u200cخواهم क्\u200dष",  # joiners that join
        "US and us; naïve, Łódź, 雪",
        "lost: \ufffd",
    ],
)
def test_what_is_kept(text):
    assert cleaning.clean_text(text) == text


def test_lower_case_is_a_choice():
    assert cleaning.clean_text("The US ÉTÉ") == "The US ÉTÉ"
    assert cleaning.clean_text("The US ÉTÉ", lower=True) == "the us été"


NASTY = st.sampled_from(
    [*"&;#<amp â€™Ã©\u0301\u200b\u200d\xa0\x85\x1b[m\n\t\xadİΣﬁ\x91\ud83d\ude00", "&amp;", "&lt;", "&#8203;"]
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(NASTY, max_size=25).map("".join)), st.booleans())
def test_cleaning_twice_is_cleaning_once(text, lower):
    once = cleaning.clean_text(text, lower)
    assert cleaning.clean_text(once, lower) == once
    assert unicodedata.is_normalized("NFC", once) and once == " ".join(once.split())
    once.encode()  # no lone surrogates


def test_report():
    corpus = corpus_of(
        ["A  cafe\u0301\xa0here.", "Tom &amp; Ann\u200b.", "Tom &amp; Ann\u200b."], ["B.", " isnâ€™t  so", "Fine."]
    )
    cleaned, report = cleaning.clean(corpus)
    assert cleaned["premise"][:] == ["A café here.", "Tom & Ann.", "Tom & Ann."]
    assert cleaned["hypothesis"][:] == ["B.", "isn’t so", "Fine."]
    assert cleaned.features == corpus.features
    rest = ["item_id", "label"]
    assert cleaned.select_columns(rest).to_dict() == corpus.select_columns(rest).to_dict()
    assert report.index.tolist() == RULES
    assert report["premise"].tolist() == [2, 1, 2, 1] and report["hypothesis"].tolist() == [1, 0, 0, 1]
    assert report.loc["Unicode form", ["before", "after"]].tolist() == [r"A  cafe\u0301\xa0here.", r"A  café\xa0here."]
    assert report.loc["white space", "before"] == " isn’t  so"  # the shortest, as it was before this rule
    assert report.loc["invisible characters", "before"] == r"Tom & Ann\u200b."


def test_case_is_a_rule_of_the_report(pairs):
    cleaned, report = cleaning.clean(pairs, lower=True)
    assert report.index.tolist() == [*RULES, "case"]
    assert report["premise"].tolist() == [0, 0, 0, 0, 48] and report["hypothesis"].sum() == 0
    assert report.loc["case", "after"] == "the cat sleeps." == cleaned["premise"][0]


def test_a_sentence_of_which_nothing_is_left():
    with pytest.raises(InputError, match="nothing is left of the hypothesis of row-2. Leave"):
        cleaning.clean(corpus_of(["A.", "B."], ["C.", "\u200b\u200b"]))


def test_embedded_sentences_are_clean():
    for name, split in (("scenes", "validation"), ("probes", None)):
        corpus = load_corpus(name, split)
        cleaned, report = cleaning.clean(corpus)
        assert report[["premise", "hypothesis"]].to_numpy().sum() == 0
        assert cleaned.to_dict() == corpus.to_dict()


def test_snli_has_only_odd_spaces_and_pairs_stay_different(mirror):
    corpus = load_corpus("snli", "train")
    cleaned, report = cleaning.clean(corpus)
    assert report["premise"].tolist() == [0, 0, 0, 6] and report["hypothesis"].tolist() == [0, 0, 0, 52]
    before, after = corpus.to_pandas(), cleaned.to_pandas()
    assert ((before["premise"] == before["hypothesis"]) == (after["premise"] == after["hypothesis"])).all()


# lengths


def test_length_outliers_are_found_and_sorted():
    rng = np.random.default_rng(0)
    premises = [" ".join(["word"] * n) for n in rng.integers(9, 16, 200)]
    hypotheses = [" ".join(["word"] * n) for n in rng.integers(4, 8, 200)]
    premises[7], hypotheses[3], premises[11] = "word " * 200, "word " * 60, "word"
    table = cleaning.length_outliers(corpus_of(premises, hypotheses))
    assert list(table) == ["item_id", "column", "words", "z", "sentence"]
    found = list(table[["item_id", "column", "words"]].itertuples(index=False, name=None))
    assert set(found) == {("row-8", "premise", 200), ("row-4", "hypothesis", 60), ("row-12", "premise", 1)}
    assert table["z"].abs().is_monotonic_decreasing and table.set_index("words")["z"][1] < 0
    logs = np.log([len(p.split()) for p in premises])
    median = np.median(logs)
    expected = 0.6745 * (np.log(200) - median) / np.median(np.abs(logs - median))
    assert table.set_index("words")["z"][200] == pytest.approx(expected)


def test_length_outliers_where_most_have_the_same_length():
    premises = ["one two three"] * 20
    assert cleaning.length_outliers(corpus_of(premises, premises)).empty
    premises[4] = "one " * 30
    table = cleaning.length_outliers(corpus_of(premises, ["so"] * 20))
    assert table["item_id"].tolist() == ["row-5"]


# missing values


def test_missing_values_and_their_disguises():
    table = pd.DataFrame(
        {
            "premise": ["P.", None, " ", "N/A", "null", "n/a "],
            "hypothesis": ["None of them.", "?", "- no", "-", "-", "Why?"],
            "votes": [1, np.nan, 3, 4, 5, 6],
            "label": ["neutral"] * 6,
        }
    )
    found = cleaning.missing(table)
    assert found.index.tolist() == list(table)
    assert found[["absent", "blank", "disguised"]].to_numpy().tolist() == [[1, 1, 3], [0, 0, 3], [1, 0, 0], [0, 0, 0]]
    assert found["share"].tolist() == pytest.approx([5 / 6, 3 / 6, 1 / 6, 0])
    assert found["rows"].tolist() == ["2, 3, 4, 5, 6", "2, 4, 5", "2", ""]
    assert found.loc["hypothesis", "written_as"] == "- (2), ? (1)"


def test_rows_are_lines_of_the_file(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("premise,hypothesis\n" + "P.,\n" * 7)
    found = cleaning.missing(read_table(path))
    assert found.loc["hypothesis", ["blank", "rows"]].tolist() == [7, "2, 3, 4, 5, 6, ..."]


def test_snli_pairs_without_gold_label_are_seen_as_missing(mirror):
    import gzip
    import json

    with gzip.open(mirror / "snli" / "snli_1.0_dev.jsonl.gz") as lines:
        raw = pd.DataFrame([{"gold_label": json.loads(line)["gold_label"]} for line in lines])
    assert cleaning.missing(raw).loc["gold_label", "written_as"] == "- (158)"


def test_columns_of_one_name_are_all_looked_at():
    table = cleaning.missing(pd.DataFrame([["", "a"], ["", "b"]], columns=["x", "x"]))
    assert list(table.index) == ["x", "x"] and table["blank"].tolist() == [2, 0]
