"""A user's own study: the example as it stands, what may be chosen, no leaks, and one message for all mistakes."""

import re
import tomllib
import warnings
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from cift import casestudy, crowds, own_study
from cift.corpora import LABELS, load_corpus, overlap
from cift.errors import InputError
from cift.own_study import EXAMPLE, read_study
from cift.recipe import Recipe
from cift.studies import load_study

WORDS = {"entailment": "yes indeed it does", "neutral": "maybe", "contradiction": "no way this is true at all"}
TOPICS = ("wards", "drugs", "forms")


def corpus(places, animals=("cat", "dog", "cow", "pig", "hen")):
    """Three pairs for each premise, whose label can be read off the hypothesis."""
    return pd.DataFrame(
        [
            {"premise": f"The {animal} sleeps in {place}.", "hypothesis": words, "label": label}
            for place in places
            for animal in animals
            for label, words in WORDS.items()
        ]
    )


def asked(people=80):
    """45 items in three topics with all labels, answered as a 2PL with known parameters says."""
    items = corpus(["a bed"], [f"bird {i}" for i in range(15)])
    items.insert(0, "item_id", [f"q{i}" for i in range(len(items))])
    items["topic"] = np.repeat(TOPICS, 15)
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.7, len(items))
    right = rng.random((people, len(items))) < 1 / (1 + np.exp(-1.7 * (rng.normal(size=(people, 1)) - difficulty)))
    wrong = {label: LABELS[(k + 1) % 3] for k, label in enumerate(LABELS)}
    answers = np.where(right, items["label"], items["label"].map(wrong))
    table = pd.DataFrame(answers, pd.Index([f"nurse {i}" for i in range(people)], name="who"), list(items["item_id"]))
    return items, table


@pytest.fixture
def write(tmp_path):
    """A writer of the three tables, changed where it is told, and of the TOML: -> its path."""

    def written(toml=EXAMPLE, pairs=None, items=None, answers=None, **others):
        its, wide = asked()
        tables = {"pairs": corpus(f"room {i}" for i in range(12)) if pairs is None else pairs}
        tables |= {"items": its if items is None else items, **others}
        for name, table in tables.items():
            table.to_csv(tmp_path / f"{name}.csv", index=False)
        (wide.reset_index() if answers is None else answers).to_csv(tmp_path / "answers.csv", index=False)
        path = tmp_path / "nurses.toml"
        path.write_text(toml, encoding="utf-8")
        return path

    return written


MINIMAL = """[corpus]
base = "pairs.csv"
[crowd]
items = "items.csv"
answers = "answers.csv"
"""


def check_no_leak(study):
    measured = {"test": study.test} | {f"items of {name}": held.items for name, held in study.held_out.items()}
    crowd_items = study.distributions.index
    for held in study.held_out.values():
        assert not overlap(held.supplement, held.items) and not overlap(held.supplement, study.test)
        assert not set(held.supplement["item_id"]) & {*held.items["item_id"], *held.people["item_id"]}
        assert list(held.items["item_id"]) == list(held.bank.items["item_id"])
        assert {*held.supplement["item_id"], *held.people["item_id"]} <= set(crowd_items)
        for bank in held.banks:
            assert set(bank.items["item_id"]) <= set(held.supplement["item_id"])
    learnt = [its for its in (study.base, study.validation, study.pool, study.other) if its is not None]
    for number, its in enumerate(learnt):
        assert len(its) and its.features["label"].names == study.test.features["label"].names
        for other in (*measured.values(), *learnt[number + 1 :]):
            assert not overlap(its, other) and not set(its["item_id"]) & set(other["item_id"])


def test_the_example_is_a_study_and_names_every_key(write):
    study = load_study(str(write()))
    check_no_leak(study)
    assert (study.name, study.population, study.balanced) == ("nurses", "212 nurses, asked in May", True)
    assert list(study.held_out) == list(TOPICS)
    for topic, held in study.held_out.items():
        assert set(held.supplement["topic"]) == set(TOPICS) - {topic} and len(held.supplement) == 30
        assert set(held.items["topic"]) == {topic}
        assert held.bank.info["scale"] == f"nurses, {topic}" and len(held.banks) == 2
    sizes = {name: len(getattr(study, name)) for name in ("base", "validation", "pool", "test")}
    assert sizes == {"base": 108, "validation": 18, "pool": 18, "test": 36}
    assert not {*study.base["premise"]} & {*study.test["premise"]} and study.other is study.base_test is None
    shown = set(re.findall(r"^(?:# )?(\w+) = ", EXAMPLE, re.MULTILINE))
    known = {key for table in own_study._KEYS.values() for key in table} - {"corpus", "crowd", "base_recipe", "recipe"}
    assert known <= shown <= known | {field.name for field in fields(Recipe)}


def test_the_example_shows_the_defaults(write):
    told, short = read_study(write()), read_study(write(MINIMAL))
    assert (short.name, short.population, short.balanced) == ("nurses", "80 respondents", False)
    assert (short.base_recipe, short.recipe) == (told.base_recipe, told.recipe)
    assert short.recipe.options == {"trainable_layers": 2}
    assert short.base["item_id"][:] == told.base["item_id"][:]
    check_no_leak(short)
    assert list(short.held_out) == [f"fold {k}" for k in range(1, 6)]
    folds = [set(held.people["premise"]) for held in short.held_out.values()]
    assert not folds[0] & folds[1] and all(len(held.banks) == 1 for held in short.held_out.values())
    explicit = read_study(write(re.sub("(?m)^held_out.*$", "held_out = 5", EXAMPLE)))
    for name, held in short.held_out.items():
        pd.testing.assert_frame_equal(held.bank.items, explicit.held_out[name].bank.items)


def test_the_alternatives_of_the_example_work(write):
    toml = re.sub(r"(?m)^# (validation|pool|test|other|base_test) = ", r"\1 = ", EXAMPLE)
    toml = toml.replace('"sick@train"', '"scenes@validation"')
    toml = re.sub(r"(?m)^labels = .*\n# labels", "labels", toml)
    parts = {name: corpus([f"the {name} room"]) for name in ("validation", "pool", "test", "base_test")}
    parts["test"]["part"] = ["old", "new", "new"] * 5
    items, answers = asked()
    coded = answers.map(lambda label: label[0]).reset_index()
    study = read_study(write(toml, items=items.assign(label=items["label"].str[0]), answers=coded, **parts))
    check_no_leak(study)
    assert len(study.base) == 180 and len(study.other) == len(load_corpus("scenes", "validation"))
    assert study.base_test["premise"][0] == "The cat sleeps in the base_test room."
    assert study.test["item_id"][0] == "test row-1" and study.test["part"][:3] == ["old", "new", "new"]
    pd.testing.assert_frame_equal(study.distributions, read_study(write()).distributions)


def test_two_labels_out_of_three(write):
    labels = {label: label.replace("neutral", "contradiction") for label in LABELS}
    toml = "labels = {" + ", ".join(f'{key} = "{value}"' for key, value in labels.items()) + "}\n" + MINIMAL
    items, answers = asked()
    study = read_study(write(toml))
    check_no_leak(study)
    assert list(study.distributions) == ["entailment", "contradiction", "n_responses"]
    assert study.base["label"][:].count(1) == 2 * study.base["label"][:].count(0)
    expected = answers["q1"].isin(["neutral", "contradiction"]).mean()
    assert study.distributions.loc["q1", "contradiction"] == pytest.approx(expected)


def test_long_answers_are_the_same_answers(write):
    wide = read_study(write())
    answers = (
        asked()[1].rename_axis("respondent").reset_index().melt("respondent", var_name="item_id", value_name="answer")
    )
    long = read_study(write(answers=answers.sample(frac=1, random_state=0)))
    pd.testing.assert_frame_equal(long.distributions, wide.distributions)
    for name, held in wide.held_out.items():
        ours, theirs = (its.bank.items.drop(columns="item_id") for its in (held, long.held_out[name]))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)  # people in another order


def test_items_without_a_group_are_learnt_and_never_measured(write):
    items, _ = asked()
    study = read_study(write(items=items.assign(topic=items["topic"].replace("forms", ""))))
    check_no_leak(study)
    assert list(study.held_out) == ["wards", "drugs"]
    assert all(set(items["item_id"][30:]) <= set(held.supplement["item_id"]) for held in study.held_out.values())


def test_what_does_not_discriminate_is_off_the_scale_unless_told_otherwise(write):
    items, answers = asked()
    answers["q3"] = np.random.default_rng(1).permutation(answers["q3"].to_numpy())
    answers["q4"] = items["label"][4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the item that all answer alike
        strict = read_study(write(answers=answers.reset_index())).held_out["wards"]
        toml = EXAMPLE.replace("discriminating = true", "discriminating = false")
        loose = read_study(write(toml, answers=answers.reset_index())).held_out["wards"]
    assert not {"q3", "q4"} & set(strict.items["item_id"])
    assert "q3" in loose.items["item_id"] and "q4" not in loose.items["item_id"]


def test_method_map_gives_the_items_priors(write):
    study = read_study(write(EXAMPLE.replace('"mml"', '"map"')))
    assert {held.bank.info["method"] for held in study.held_out.values()} == {"map"}


def test_pairs_that_two_corpora_hold_stay_with_the_measured_one(write):
    items, _ = asked()
    pairs = corpus(f"room {i}" for i in range(12))
    test = pairs.head(15).assign(premise=lambda table: table["premise"].str.upper())
    both = pd.concat([pairs, items[["premise", "hypothesis", "label"]]])
    with pytest.warns(UserWarning, match="base: left out 60 pairs that are also in items, test"):
        study = read_study(write(EXAMPLE.replace("# test", "test"), pairs=both, test=test))
    check_no_leak(study)
    assert len(study.test) == 15 and len(study.base) + len(study.pool) + len(study.validation) == 165


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('name = "nurses"', "name = nurses"), "nurses.toml: not TOML: Invalid value.*line 4"),
        (("answers =", "anwsers ="), "crowd.answers is missing; crowd.anwsers is unknown; did you mean answers?"),
        (("[corpus]", "[corpora]"), "corpus is missing; corpora is unknown; did you mean corpus?"),
        (('held_out = "topic"', "held_out = true"), "crowd.held_out is True; give text in quotes or a whole number"),
        (('base = "pairs.csv"', "base = 3"), "corpus.base is 3; give text in quotes"),
        (('method = "mml"', 'method = "ml"'), "crowd.method is 'ml'; choose from mml, map, py-irt"),
        (('"neutral", ', "2, "), "labels is .*, 2, .*; give each as text in quotes"),
        (('"neutral", "contradiction"', ""), "labels is .*; give two or more, each once"),
        (("batch_size = 16", "batchsize = 16"), "recipe: batchsize is unknown; did you mean batch_size?"),
        (("epochs = 2", "epochs = 0"), "base_recipe: its values: recipe: epochs is 0; it must be a whole number"),
        (("batch_size = 16", "epochs = 16"), "recipe: epochs is the study's to set; leave it out"),
    ],
)
def test_wrong_keys_and_values(write, change, told):
    assert change[0] in EXAMPLE
    with pytest.raises(InputError, match=told.replace("?", r"\?")):
        read_study(write(EXAMPLE.replace(*change, 1)))


def test_several_mistakes_are_one_message(write):
    toml = EXAMPLE.replace("name =", "nam =").replace("true", "1").replace("epochs = 2", "epochs = 0")
    with pytest.raises(InputError) as error:
        read_study(write(toml))
    assert re.search("nam is unknown.*crowd.discriminating is 1.*base_recipe: .*epochs is 0.*EXAMPLE", str(error.value))
    toml = EXAMPLE.replace("pairs.csv", "pears.csv").replace("items.csv", "itemz.csv").replace("answers.csv", "no.csv")
    with pytest.raises(InputError) as error:
        read_study(write(toml))
    assert re.search("base: .*pears.csv: no such.*items: .*itemz.csv: no such.*no.csv: no such", str(error.value))
    with pytest.raises(InputError, match="absent.toml: no such file"):
        read_study("absent.toml")


def test_wrong_tables(write):
    items, answers = asked()
    twice, few, other = items.copy(), items.copy(), items.rename(columns={"topic": "topics"})
    twice.loc[42, ["premise", "hypothesis"]] = twice.loc[0, ["premise", "hypothesis"]].to_numpy()
    few.loc[:1, "topic"] = "few"
    misspelt, without = answers.replace("entailment", "perhaps"), answers.drop(columns=["q0", "q1"])
    cases = [
        ("'q44' is not one of the 44 items", {"items": items.head(44)}),
        ("row 2 has the label 'perhaps'", {"items": items.replace({"label": {"entailment": "perhaps"}})}),
        ("row 2, item 'q2' has the answer 'perhaps'", {"answers": misspelt.reset_index()}),
        ("crowd: nobody answered q0, q1; take", {"answers": without.reset_index()}),
        ("pairs of 'wards' are also in other groups: q0; ask each", {"items": twice}),
        ("without 'neutral' no item is labelled neutral;", {"items": items.assign(topic=items["label"])}),
        ("without 'all' no item is labelled entailment, neutral, contradiction;", {"items": items.assign(topic="all")}),
        ("the column 'topic' of the items is empty; name", {"items": items.assign(topic="")}),
        ("the column 'topic' of the items is unknown; did you mean topics?", {"items": other}),
        ("few: 0 of 2 items are fit for a scale, which needs 3; make", {"items": few}),
        ("corpus: no pair of base is labelled neutral; give", {"pairs": corpus("ab").query("label != 'neutral'")}),
        ("corpus: split: nothing falls to", {"pairs": corpus("a", ["cat"])}),
    ]
    for told, tables in cases:
        with pytest.raises(InputError, match=re.escape(told)):
            read_study(write(**tables))
    both = {"items": items.assign(topic="all"), "pairs": corpus("ab").query("label != 'neutral'")}
    with pytest.raises(InputError, match="crowd: without 'all' .* corpus: no pair of base is labelled neutral"):
        read_study(write(**both))
    with pytest.raises(InputError, match="corpus: 45 pairs of test are also the crowd's items; leave them out of one"):
        read_study(write(EXAMPLE.replace("# test", "test"), test=items.drop(columns="item_id")))
    with pytest.warns(UserWarning), pytest.raises(InputError, match="corpus: nothing is left of base"):
        read_study(write(pairs=items[["premise", "hypothesis", "label"]]))
    with pytest.raises(InputError, match="crowd: folds: k is 1"):
        read_study(write(EXAMPLE.replace('"topic"', "1")))


def test_a_study_of_real_people_is_the_same_said_in_toml(mirror, tmp_path):
    crowds.to_long(crowds.load_crowd("snow2008")["RTE-1"].responses).to_csv(tmp_path / "answers.csv", index=False)
    meanings = {"entailment": "entailment"} | dict.fromkeys(("neutral", "contradiction"), "not_entailment")
    corpus = {"base": "snli@train_extra", "validation": "rte@rte1_dev", "test": "rte@rte2_test"}
    crowd = 'items = "snow2008"\nanswers = "answers.csv"\nmethod = "map"\ndiscriminating = false\n'
    (tmp_path / "rte.toml").write_text(
        "[labels]\n" + "".join(f'{value} = "{label}"\n' for value, label in meanings.items())
        + "[corpus]\n" + "".join(f'{key} = "{source}"\n' for key, source in corpus.items()) + "[crowd]\n" + crowd
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of items that all answer alike
        ours, theirs = read_study(tmp_path / "rte.toml"), load_study("snow-rte")
    check_no_leak(ours)
    assert list(ours.held_out) == list(theirs.held_out)
    for name, held in theirs.held_out.items():
        pd.testing.assert_frame_equal(ours.held_out[name].bank.items, held.bank.items)
        pd.testing.assert_frame_equal(ours.held_out[name].banks[0].items, held.banks[0].items)
        assert ours.held_out[name].supplement["item_id"][:] == held.supplement["item_id"][:]
    pd.testing.assert_frame_equal(ours.distributions.sort_index(), theirs.distributions.sort_index())


def test_a_study_of_ones_own_runs(write, tiny_model, monkeypatch):
    monkeypatch.setattr(casestudy, "FACTORS", (1,))
    monkeypatch.setattr(casestudy, "EPOCHS", (1,))
    toml = EXAMPLE.replace('"topic"', "2").replace("trainable_layers = 2", "trainable_layers = 1")
    study = read_study(write(toml, pairs=corpus(f"room {i}" for i in range(40))))
    names = ("no fine-tuning", "random items", "third: information")
    record = casestudy.run(study, (0,), tiny_model, names)
    results = pd.DataFrame(record["results"])
    assert record["study"] == "nurses" and sorted(results["arm"]) == sorted(2 * names)
    assert results[["theta", "test_accuracy", "jsd"]].notna().all().all()
    assert tomllib.loads(EXAMPLE)["population"] == record["run"]["population"]
