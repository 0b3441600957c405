import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cift import finetuning, tokenization
from cift.corpora import load_corpus, to_dataset
from cift.errors import InputError


@pytest.fixture(scope="module")
def minilm():
    from transformers import AutoTokenizer

    from cift.models import resolve

    return AutoTokenizer.from_pretrained(resolve("minilm"))


@pytest.fixture(scope="module")
def scenes():
    return load_corpus("scenes", "test")


def corpus_of(*pairs):
    return to_dataset(pd.DataFrame(pairs, columns=["premise", "hypothesis"]).assign(label="neutral"))


def test_token_lengths(minilm):
    corpus = corpus_of(("The cats sleep.", "A ☃ melts"), ("word " * 600, "Unbelievable!"))
    lengths = tokenization.token_lengths(corpus, minilm)
    # [CLS] the cats sleep . [SEP] a [UNK] melts [SEP]: "melts" is one piece or two
    pieces = 4 + 2 + len(minilm.tokenize("melts"))
    assert lengths.index.tolist() == ["row-1", "row-2"]
    assert lengths["words"].tolist() == [6, 601] and lengths["unknown"].tolist() == [1, 0]
    assert lengths["tokens"].tolist() == [pieces + 3, 600 + len(minilm.tokenize("Unbelievable!")) + 3]  # untruncated
    assert lengths["pieces_per_word"].iloc[0] == pytest.approx(pieces / 6)


def test_lengths_are_those_of_training(scenes, minilm):
    lengths = tokenization.token_lengths(scenes, minilm)
    rows = finetuning.encode(scenes, minilm, max_length=24)
    assert lengths["tokens"].clip(upper=24).tolist() == [len(row["input_ids"]) for row in rows]


def test_truncation():
    lengths = pd.DataFrame({"tokens": [10, 20, 30, 40]})
    table = tokenization.truncation(lengths, [15, 30, 64])
    assert table["pairs_cut"].tolist() == [0.75, 0.25, 0]
    assert table["tokens_lost"].tolist() == pytest.approx([(5 + 15 + 25) / 100, 0.1, 0])
    with pytest.raises(InputError, match="max_length: 0, -1; it must be at least 1"):
        tokenization.truncation(lengths, [0, 5, -1])


def test_padding_cost_by_hand():
    table = tokenization.padding_cost(pd.DataFrame({"tokens": [10, 20, 30, 99]}), batch_size=4, max_length=40)
    assert table["tokens"].tolist() == [100, 160, 160, 160, 160]
    assert table["padded"].tolist() == pytest.approx([0, *[60 / 160] * 4])
    assert table["cost"].tolist() == pytest.approx([1, *[1.6] * 4])
    assert table["attention"].iloc[1] == pytest.approx(4 * 40**2 / (10**2 + 20**2 + 30**2 + 40**2))
    for wrong in ({"batch_size": 0}, {"max_length": 0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}: 0; it must be at least 1"):
            tokenization.padding_cost(pd.DataFrame({"tokens": [1]}), **wrong)


def test_padding_cost_is_that_of_the_batches_of_training(scenes, minilm):
    lengths = tokenization.token_lengths(scenes, minilm)
    table = tokenization.padding_cost(lengths, batch_size=16, seed=5)
    rows = finetuning.encode(scenes, minilm)
    order = list(finetuning.LengthBuckets([len(row["input_ids"]) for row in rows], 16, seed=5))
    batches = [finetuning.collate([rows[i] for i in order[start : start + 16]]) for start in range(0, len(order), 16)]
    assert table.loc["longest of a bucketed batch", "tokens"] == sum(batch["input_ids"].numel() for batch in batches)
    assert table.loc["none", "tokens"] == sum(int(batch["attention_mask"].sum()) for batch in batches)
    assert table["tokens"].tolist() == sorted(table["tokens"])[:1] + sorted(table["tokens"])[:0:-1]
    assert tokenization.padding_cost(lengths, batch_size=16, seed=5).equals(table)


def test_most_split(minilm):
    corpus = corpus_of(
        ("The cardiologist, sad.", "“Cardiologist” cardiologist; disrespects!"), ("A sad acrobat.", "Sad.")
    )
    table = tokenization.most_split(corpus, minilm, 3)
    assert list(table) == ["word", "frequency", "n_pieces", "pieces"]
    assert table["word"].tolist() == ["disrespects", "cardiologist", "Cardiologist"]
    assert table["frequency"].tolist() == [1, 2, 1]
    assert [minilm.tokenize(word) for word in table["word"]] == table["pieces"].str.split().tolist()
    assert table["n_pieces"].tolist() == table["pieces"].str.split().map(len).tolist()


def test_case_is_nothing_to_an_uncased_tokenizer_and_something_to_a_cased_one(scenes, minilm):
    uncased = tokenization.case_effect(scenes, minilm)
    assert uncased.loc["as written"].equals(uncased.loc["lower-cased"].rename("as written"))
    lengths = tokenization.token_lengths(scenes, minilm)
    assert uncased["tokens"].iloc[0] == pytest.approx(lengths["tokens"].mean())
    assert uncased["pieces_per_word"].iloc[0] == pytest.approx(
        (lengths["tokens"].sum() - 3 * len(scenes)) / lengths["words"].sum()
    )
    cased = tokenization.case_effect(scenes, tokenization.train_wordpiece(scenes, 2000))
    assert cased["pairs_changed"].tolist() == [0, 1]  # every sentence begins with a capital
    assert cased.loc["lower-cased", "tokens"] != cased.loc["as written", "tokens"]


def test_case_effect_counts_what_becomes_unknown():
    shouts = corpus_of(("ABBA", "BAAB"), ("AB", "b"))
    table = tokenization.case_effect(shouts, tokenization.train_wordpiece(shouts, 100))
    assert table.loc["as written", "unknown"] == 0
    assert table.loc["lower-cased", "unknown"] == pytest.approx(3 / 10)  # all but "b", among 6 special tokens
    assert table["pairs_changed"].tolist() == [0, 1]


def test_a_trained_wordpiece(scenes, minilm):
    cased, uncased = (tokenization.train_wordpiece(scenes, 1500, lowercase=lower) for lower in (False, True))
    assert len(cased) == len(uncased) == 1500
    assert cased.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert cased.pad_token_id == 0  # what finetuning.collate pads with
    assert set(cased.all_special_tokens) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    encoded = cased("The owl.", "The map.")
    tokens = cased.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[SEP]") == 2
    first = tokens.index("[SEP]") + 1
    assert encoded["token_type_ids"] == [0] * first + [1] * (len(tokens) - first)
    assert cased.decode(encoded["input_ids"], skip_special_tokens=True) == "The owl. The map."
    assert uncased("The Owl")["input_ids"] == uncased("the owl")["input_ids"] != cased("the owl")["input_ids"]
    assert tokenization.token_lengths(scenes, cased)["unknown"].sum() == 0
    with pytest.raises(InputError, match=r"vocab_size is 20, but characters alone take \d+ here"):
        tokenization.train_wordpiece(scenes, 20)


def test_more_vocabulary_means_fewer_pieces(scenes):
    pieces = [
        tokenization.case_effect(scenes, tokenization.train_wordpiece(scenes, size))["pieces_per_word"].iloc[0]
        for size in (200, 500, 1500)
    ]
    assert np.all(np.diff(pieces) < 0)


def test_training_gives_the_same_vocabulary_in_every_process(pairs, tmp_path):
    """The trainer's hash tables are seeded anew in each process."""
    pairs.to_parquet(str(tmp_path / "pairs.parquet"))
    program = (
        "import sys; from datasets import Dataset; from cift.tokenization import train_wordpiece\n"
        "found = train_wordpiece(Dataset.from_parquet(sys.argv[1], cache_dir=sys.argv[2]), 150)\n"
        "print(sorted(found.get_vocab().items()))"
    )
    run = [sys.executable, "-c", program, str(tmp_path / "pairs.parquet"), str(tmp_path)]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(sorted(tokenization.train_wordpiece(pairs, 150).get_vocab().items()))
