"""Augmentation: what the methods write, what becomes of labels, and the measurement's bookkeeping."""

import json

import numpy as np
import pandas as pd
import pytest

from cift import augmentation, finetuning
from cift.augmentation import BASELINE, CONTROL, MEASURED, MORE, augment, natural_logic, seq2seq, survival
from cift.corpora import LABELS, data_dir, load_corpus, to_dataset
from cift.errors import InputError
from cift.rewriting import OFFLINE, paraphrases, replacements


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("scenes", "validation").select(range(300))


def pair(premise, hypothesis, label="entailment"):
    return to_dataset(pd.DataFrame([{"premise": premise, "hypothesis": hypothesis, "label": label}]))


def new_words(sentence, relation):
    return {(change.old, change.new) for change in replacements(sentence, relation)}


# one word


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("None of the children bought a car.", {("children", "kids"), ("bought", "purchased"), ("car", "automobile")}),
        ("The sofa is being repaired.", {("sofa", "couch"), ("is being repaired", "is being fixed")}),
        ("The cook did the dishes.", {("cook", "chef"), ("did the dishes", "washed the dishes")}),
        ("The knife was dull.", set()),  # dull is blunt here and boring elsewhere: no synonym fits both
        ("The judge is standing close to the mayor.", set()),  # not the verb
        ("She is washing dishes in a hard hat.", set()),  # neither meals nor difficult
    ],
)
def test_synonyms_keep_the_form_and_leave_homographs(sentence, found):
    assert new_words(sentence, "=") == found


def test_the_article_follows_the_new_word():
    assert "An automobile was sold." in {change.text for change in replacements("A car was sold.", "=")}
    assert "A car was sold." in {change.text for change in replacements("An automobile was sold.", "=")}


@pytest.mark.parametrize(
    ("sentence", "relation", "new", "direction"),
    [
        ("A poodle is asleep.", ">", "dog", "weaker"),
        ("A dog is asleep.", "<", "poodle", "stronger"),
        ("No poodle was asleep.", ">", "dog", "stronger"),
        ("There were no dogs in the yard.", "<", "poodles", "weaker"),
        ("The boy did not feed a poodle.", ">", "dog", "stronger"),
        ("Every violinist in the hall laughed.", ">", "musician", "stronger"),
        ("Every violinist in the hall giggled.", ">", "laughed", "weaker"),
        ("Not all of the violinists in the hall laughed.", ">", "musicians", "weaker"),
        ("Not all of the violinists in the hall giggled.", ">", "laughed", "stronger"),
        ("Most of the violinists in the hall laughed.", ">", "musicians", "other"),
        ("The dog is asleep.", "~", "cat", "excluded"),
        ("There was a dog in the yard.", "~", "cat", "other"),  # there may have been both
        ("The nurse is asleep.", "~", "teacher", "other"),  # may be both
    ],
)
def test_monotonicity_decides_what_a_replacement_does(sentence, relation, new, direction):
    assert {change.direction for change in replacements(sentence, relation) if change.new == new} == {direction}


# sentences


@pytest.mark.parametrize(
    ("sentence", "other"),
    [
        ("The nurse signed the contract.", "The contract was signed by the nurse."),
        ("A wrestler is eating an apple.", "An apple is being eaten by a wrestler."),
        ("The janitor did not clean the windows.", "The windows were not cleaned by the janitor."),
        ("No parcel was sent by the clerk.", "The clerk did not send a parcel."),
        ("Every child at the party sneezed.", "Each of the children at the party sneezed."),
        ("Not all of the women at the party danced.", "At least one woman at the party did not dance."),
        ("There were no geese in a meadow.", "There was not a single goose in a meadow."),
        ("The mirror is above the map.", "The map is below the mirror."),
        ("The van is noisier than the bus.", "The bus is quieter than the van."),
        ("The judge fed the cat after peeling the potatoes.", "Before feeding the cat, the judge peeled the potatoes."),
        ("Friday was the day of the race.", "The race took place on Friday."),
        ("A man in a red shirt is running.", "There is a man in a red shirt running."),
        ("They are playing in the park.", "In the park, they are playing."),
    ],
)
def test_paraphrases_say_the_same(sentence, other):
    assert other in paraphrases(sentence)


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("The neighbors warned the reporter.", "The reporter was warned by the neighbors."),  # plural: not read at all
        ("The nurse never fed the dog.", "The dog was fed by the nurse never."),
        ("The quiz in the magazine was hard.", "In the magazine was hard, the quiz."),
        ("The key is in the box.", "In the box, the key is."),
    ],
)
def test_paraphrases_that_are_not_english_are_not_written(sentence, wrong):
    assert wrong not in paraphrases(sentence)


def test_paraphrases_are_clean_sentences_and_lead_back(corpus):
    sentences = corpus["hypothesis"][:150]
    lead_back = []
    for sentence in sentences:
        for other in paraphrases(sentence):
            assert other != sentence and other[0].isupper() and other.endswith(".")
            assert not any(mark in other for mark in ("  ", "{", "}", ",.", "of the of"))
            lead_back.append(sentence in paraphrases(other))
    assert np.mean(lead_back) > 0.75  # not all: "never" is read, "really" only written


def test_back_translation_drifts_as_german_does():
    sentence = "The man is wearing a hat on the couch."
    versions = {OFFLINE["back-translation"]([sentence], seed)[0] for seed in range(40)}
    assert "The man is carrying a hat on the sofa." in versions
    assert "The man wears a hat on the sofa." in versions
    assert all("hat" in version and "man" in version.lower() for version in versions)


# a corpus


@pytest.mark.parametrize(
    ("method", "at_least"),
    [("synonym", 0.35), ("careless synonym", 0.95), ("paraphrase", 0.9), ("back-translation", 0.5)],
)
def test_augment_changes_one_side_and_copies_the_label(corpus, method, at_least):
    new = augment(corpus, method, copies=2, seed=1)
    source = corpus.to_pandas().set_index("item_id").loc[new["source_id"]]
    assert new["premise"][:] == list(source["premise"])
    assert all(np.array(new["hypothesis"]) != source["hypothesis"])
    assert new["label"][:] == list(source["label"])
    assert set(new["method"]) == {method}
    assert len(set(new["source_id"])) >= at_least * len(corpus)
    assert not new.to_pandas().duplicated(["source_id", "hypothesis"]).any()
    assert new["item_id"][0] == f"{new['source_id'][0]}+{method.replace(' ', '-')}1"
    assert f"{len(set(new['source_id']))} of 300 pairs changed, {len(new)} new pairs" in new.info.description


def test_the_seed_decides(corpus):
    once, again, other = (augment(corpus, "paraphrase", seed=seed)["hypothesis"][:] for seed in (1, 1, 2))
    assert once == again != other


def test_the_premise_can_be_changed_instead(corpus):
    new = augment(corpus, "synonym", side="premise")
    source = corpus.to_pandas().set_index("item_id").loc[new["source_id"]]
    assert new["hypothesis"][:] == list(source["hypothesis"])
    assert all(np.array(new["premise"]) != source["premise"])


def test_a_generator_of_ones_own_goes_the_same_way(corpus):
    new = augment(corpus, "shouting", generate=lambda sentences, seed: [s.upper() for s in sentences])
    assert new["hypothesis"][0] == corpus["hypothesis"][0].upper()
    assert new["item_id"][0].endswith("+shouting1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "eda"}, "no method 'eda' offline; there are synonym, "),
        ({"method": "synonym", "side": "label"}, "side is 'label'; it must be premise or hypothesis"),
        ({"method": "short", "generate": lambda sentences, seed: ["one"]}, "short made 1 sentences of 300"),
        ({"method": "copy", "generate": lambda sentences, seed: sentences}, "copy changed none of the 300 hypothesis"),
    ],
)
def test_what_augment_cannot_do_it_says(corpus, arguments, message):
    with pytest.raises(InputError, match=message):
        augment(corpus, **arguments)


# models for it


@pytest.fixture(scope="module")
def tiny_translator(tmp_path_factory):
    """Folder of a Marian model with random weights and a tokenizer of sixteen words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", *"a an the man woman dog cat is sleeping running in park .".split()]
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder = tmp_path_factory.mktemp("marian")
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    special = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "forced_eos_token_id": 1}
    MarianMTModel(MarianConfig(vocab_size=len(words), d_model=16, **sizes, **special)).save_pretrained(folder)
    return str(folder)


def test_a_hub_model_rewrites_through_the_same_function(tiny_translator):
    corpus = pair("A man is running in the park.", "A man is in the park.")
    there_and_back = seq2seq(tiny_translator, tiny_translator, max_new_tokens=8)
    new = augment(corpus, "back-translation", generate=there_and_back, copies=2)
    assert len(new) == 2 and new["method"][0] == "back-translation"
    assert set(" ".join(new["hypothesis"]).split()) <= set(
        "a an the man woman dog cat is sleeping running in park .".split()
    )
    again = augment(corpus, "back-translation", generate=there_and_back, copies=2)
    assert new["hypothesis"][:] == again["hypothesis"][:]


def test_a_generator_does_not_depend_on_its_batches(tiny_translator):
    rewrite = seq2seq(tiny_translator, max_new_tokens=4, batch_size=1)
    assert len(rewrite(["A dog is running.", "The cat is sleeping in the park.", "A man"], 0)) == 3


def test_a_model_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match="model 'nobody/opus-mt-xx-yy': cannot be loaded") as error:
        seq2seq("nobody/opus-mt-xx-yy")
    assert "\n" not in str(error.value)


def test_weights_that_are_not_safetensors_are_refused(tiny_translator, tmp_path):
    import shutil

    import torch

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{tiny_translator}/{name}", tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        seq2seq(str(tmp_path))


# labels


@pytest.mark.parametrize(
    ("hypothesis", "label", "method", "verdict"),
    [
        ("A poodle is asleep.", "entailment", "hypernym", "kept"),
        ("A poodle is asleep.", "contradiction", "hypernym", "open"),
        ("A dog is asleep.", "contradiction", "hyponym", "kept"),
        ("A dog is asleep.", "entailment", "hyponym", "open"),
        ("No poodle was asleep.", "contradiction", "hypernym", "kept"),
        ("The dog has the sofa.", "neutral", "synonym", "kept"),
    ],
)
def test_natural_logic_says_whether_the_label_survives(hypothesis, label, method, verdict):
    corpus = pair("Something is the case.", hypothesis, label)
    found = natural_logic(augment(corpus, method), corpus)
    assert found["verdict"].tolist() == [verdict] and found["side"].tolist() == ["hypothesis"]


def test_careless_synonyms_break_entailments_only(corpus):
    found = natural_logic(augment(corpus, "careless synonym"), corpus)
    broken = found[found["verdict"] == "broken"]
    assert len(broken) > 10 and set(broken["label"]) == {"entailment"}
    assert set(found["verdict"]) == {"broken", "open"}


def test_survival_compares_before_and_after(corpus):
    """A judge that knows the original labels and calls every changed careless pair neutral."""
    gold = {tuple(row[name] for name in ("premise", "hypothesis")): row["label"] for row in corpus}

    def judge(data):
        codes = [gold.get((row["premise"], row["hypothesis"]), 1) for row in data]
        labels = [LABELS[i] for i in data["label"]]
        return pd.DataFrame({"item_id": data["item_id"], "label": labels, "predicted": [LABELS[i] for i in codes]})

    new = augment(corpus, "careless synonym")
    table = survival(new, corpus, judge)
    assert list(table.index) == [*LABELS, "all"]
    assert (table["right_before"] == 1).all()
    assert table.loc["entailment", "right_after"] < 0.1 < 0.9 < table.loc["neutral", "right_after"]
    assert table.loc["all", "pairs"] == len(new) == table["pairs"][:3].sum()
    assert np.allclose(table[["kept", "broken", "open"]].sum(axis=1), 1)
    assert survival(augment(corpus, "paraphrase"), corpus, judge)["kept"].isna().all()


def test_the_judgements_are_of_scenes_pairs():
    table = augmentation.judgements()
    assert table["method"].value_counts().to_dict() == dict.fromkeys(MEASURED, 50)
    assert set(table["verdict"]) == {"kept", "broken", "odd"}
    source = load_corpus("scenes", "train").to_pandas().set_index("item_id").loc[table["item_id"]]
    assert table["before"].tolist() == source["hypothesis"].tolist()
    assert table["premise"].tolist() == source["premise"].tolist()
    assert [LABELS[i] for i in source["label"]] == table["label"].tolist()
    card = (data_dir() / "augmentation" / "README.md").read_text()
    counts = pd.crosstab(table["method"], table["verdict"])
    for method, row in counts.iterrows():
        assert f"| {method} | {row['kept']} | {row['broken']} | {row['odd']} |" in card


# does it help?


def test_lessons_have_the_same_pairs_and_as_many_steps():
    pool = load_corpus("scenes", "train")
    arms = augmentation.lessons(pool, 60, seed=3)
    assert list(arms) == [BASELINE, CONTROL, *MEASURED, MORE]
    own = set(arms[BASELINE]["item_id"])
    assert len(own) == 60
    for name, lesson in arms.items():
        assert len(lesson) == (60 if name == BASELINE else 120)
        assert own <= set(lesson["item_id"])
    assert len(set(arms[MORE]["item_id"])) == 120
    assert any("+" in item for item in arms["paraphrase"]["item_id"])


def test_finished_runs_are_not_repeated(tiny_model, corpus, monkeypatch):
    first = augmentation.effect("scenes", corpus, corpus.select(range(40)), pairs=8, seeds=[0], model=tiny_model)
    assert first["arm"].tolist() == [BASELINE, CONTROL, *MEASURED, MORE]
    assert first["steps"].tolist() == [3] * 7  # of 32 rows
    monkeypatch.setattr(finetuning, "predict", lambda *_: pytest.fail("trained again"))
    again = augmentation.effect("scenes", corpus, corpus.select(range(40)), pairs=8, seeds=[0], model=tiny_model)
    pd.testing.assert_frame_equal(first, again)


def test_a_judge_is_trained_once(tiny_model, corpus, monkeypatch):
    first = augmentation.judged(corpus, corpus, model=tiny_model)
    assert set(first["method"]) == set(OFFLINE) and len(first) == 4 * len(OFFLINE)
    assert first["changed"].between(0.2, 1).all()
    monkeypatch.setattr(finetuning, "train", lambda *_, **__: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(first, augmentation.judged(corpus, corpus, model=tiny_model))


def test_differences_are_paired():
    rows = [
        {"corpus": "scenes", "arm": arm, "seed": seed, "accuracy": 0.5 + 0.1 * seed + gain}
        for seed in range(3)
        for arm, gain in ((CONTROL, 0.0), ("synonym", 0.02))
    ]
    table = augmentation.differences(pd.DataFrame(rows)).set_index("arm")
    assert table.loc["synonym", "difference"] == pytest.approx(0.02)
    assert table.loc["synonym", ["low", "high"]].tolist() == pytest.approx([0.02, 0.02])
    assert table.loc[CONTROL, "accuracy"] == pytest.approx(0.6)


def test_the_record_is_of_these_arms():
    record = json.loads((data_dir().parent / "results" / "augmentation.json").read_text())
    results = pd.DataFrame(record["results"])
    assert set(results["arm"]) == {BASELINE, CONTROL, *MEASURED, MORE}
    assert results.groupby(["corpus", "arm"])["seed"].nunique().min() >= 5
    assert (results["n_test"] >= 1000).all()


def test_snli_captions_are_changed_too(mirror):
    captions = load_corpus("snli", "train").select(range(1000))
    share = {method: len(augment(captions, method)) / 1000 for method in MEASURED}
    assert share["synonym"] > 0.1 and share["paraphrase"] > 0.3 and share["back-translation"] > 0.35
