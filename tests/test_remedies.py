"""The study of notebook 09: its cells measure what they say, and its record is summarised seed by seed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cift import corpora, finetuning, models, remedies
from cift.evaluation import paired_difference


@pytest.fixture
def small(monkeypatch, tiny_model, tmp_path):
    """The study at the size of a test: the tiny model, few pairs, and scenes in the place of SNLI."""
    real_load, real_corpus = models.load, corpora.load_corpus
    monkeypatch.setattr(models, "load", lambda name, *given: real_load(tiny_model, *given))
    monkeypatch.setattr(corpora, "load_corpus", lambda name, part: real_corpus("scenes", part).select(range(400)))
    for name, value in {"PAIRS": 24, "LESSON_PAIRS": 24, "TEST_PAIRS": 20, "TRIALS": 2}.items():
        monkeypatch.setattr(remedies, name, value)
    for name in ("BARE", "DEFAULT", "LESSON"):
        monkeypatch.setattr(
            remedies, name, replace(getattr(remedies, name), epochs=2, batch_size=8, learning_rate=1e-3)
        )


def test_a_remedy_changes_its_own_setting_only():
    plain = remedies.BARE
    for name, changes in remedies.REMEDIES.items():
        recipe = replace(plain, **changes)
        different = {field for field, value in vars(recipe).items() if value != vars(plain)[field]}
        assert different == set(changes), name
    assert remedies.REMEDIES["all together"].keys() == {
        setting for changes in remedies.REMEDIES.values() for setting in changes
    }


def test_a_remedied_run_is_measured_on_pairs_it_did_not_see(small, tiny_model):
    cell = remedies.remedied("scenes", "dropout", 1)
    lesson, validation, test = remedies._parts("scenes", 1, 24)
    ids = [set(part["item_id"][:]) for part in (lesson, validation, test)]
    assert [len(part) for part in ids] == [24, 24, 20] and len(set.union(*ids)) == 68
    recipe = replace(remedies.BARE, dropout=0.2)
    model, tokenizer, cost = finetuning.fine_tune(lesson, recipe, 1, "minilm", validation=validation)
    found = finetuning.predict(model, finetuning.encode(test, tokenizer), test)
    assert cell["test_accuracy"] == (found["predicted"] == found["label"]).mean()
    assert [point["epoch"] for point in cell["curve"]] == [1, 2] == list(range(1, cell["epochs"] + 1))
    assert cell["last_validation_loss"] == pytest.approx(cell["validation_loss"], abs=1e-3)
    assert cell["curve"][0]["loss"] == pytest.approx(np.mean([row["loss"] for row in cost["history"][:3]]), abs=1e-4)


def test_a_history_is_gathered_by_epoch():
    rows = [(0.5, 1.0, 2.0), (1.0, 3.0, 4.0), (1.5, 5.0, 6.0), (2.0, 7.0, 8.0)]
    history = [{"epoch": epoch, "loss": loss, "gradient_norm": norm} for epoch, loss, norm in rows]
    history[1] |= {"validation_loss": 0.4, "validation_accuracy": 0.6}
    history[3] |= {"validation_loss": 0.5, "validation_accuracy": 0.7}
    found = remedies.by_epoch(history)
    assert found.to_dict("list") == {
        "epoch": [1, 2], "loss": [2.0, 6.0], "gradient_norm": [3.0, 7.0], "validation_loss": [0.4, 0.5],
        "validation_accuracy": [0.6, 0.7],
    }  # fmt: skip


def test_searches_choose_by_the_validation_pairs(small, monkeypatch):
    monkeypatch.setattr(remedies, "SPACE", {"learning_rate": (1e-4, 1e-2, "log")})
    plain, seeds, found = (remedies.searched("snli", how, 1) for how in ("default", "best of seeds", "search"))
    assert [cell["trainings"] for cell in (plain, seeds, found)] == [1, 2, 3]
    assert plain["chosen"] == seeds["chosen"] == {} and 1e-4 <= found["chosen"]["learning_rate"] <= 1e-2
    lesson, validation, _ = remedies._parts("snli", 1, 24)
    each = []
    for seed in (2, 3):
        model, tokenizer, _ = finetuning.fine_tune(lesson, remedies.DEFAULT, seed)
        each.append(remedies._answers("validation", validation, model, tokenizer)["validation_loss"])
    assert seeds["validation_loss"] == min(each)
    assert seeds["seconds"] > plain["seconds"] > 0


def test_what_is_not_trained_forgets_nothing(small):
    before, features, full = (remedies.forgotten("scenes", way, 0) for way in ("not at all", "features", "full"))
    assert before["reciprocal_rank"] == features["reciprocal_rank"] != full["reciprocal_rank"]
    assert before["test_loss"] != features["test_loss"]


@pytest.mark.parametrize("way", ["LoRA", "replay"])
def test_other_ways_end_in_a_model_that_does_both_tasks(way, small):
    found = remedies.forgotten("scenes", way, 0)
    assert 1 / 20 <= found["reciprocal_rank"] <= 1 and found["test_loss"] > 0


def test_entailed_pairs_share_no_sentence():
    rows = [("a", "x", "entailment"), ("a", "y", "entailment"), ("b", "x", "entailment"), ("c", "z", "neutral"),
            ("d", "w", "entailment")]  # fmt: skip
    import pandas as pd

    table = pd.DataFrame(rows, columns=["premise", "hypothesis", "label"]).assign(item_id=list("12345"))
    assert remedies._entailed(corpora.to_dataset(table), 9)["item_id"][:] == ["1", "5"]


def test_the_study_holds_every_cell_and_is_resumed(small, monkeypatch):
    calls = []

    def cell(corpus, arm, seed):
        calls.append((corpus, arm, seed))
        return {"test_loss": float(len(arm) + seed)}

    for name in ("remedied", "searched", "forgotten"):
        monkeypatch.setattr(remedies, name, cell)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    record = json.loads(json.dumps(remedies.study(range(2))))
    done = len(calls)
    assert done == sum(len(record[part]) for part in remedies.BASELINES) == 2 * (10 + 4 + 8)
    assert {part: {cell["corpus"] for cell in record[part]} for part in remedies.BASELINES} == {
        "remedies": {"snli"}, "search": {"snli"}, "forgetting": {"scenes"}
    }  # fmt: skip
    assert remedies.study(range(2))["remedies"] == record["remedies"] and len(calls) == done
    assert record["run"]["data"].keys() >= {"snli, test", "scenes, train"}


@pytest.fixture
def record():
    rng = np.random.default_rng(0)
    cells = [
        {"arm": arm, "corpus": "snli", "seed": seed, "test_loss": 1 + seed + gain + rng.normal(0, 0.1), "epochs": n,
         "curve": [{"epoch": k + 1, "loss": seed + k} for k in range(n)]}
        for seed in range(3)
        for arm, gain, n in (("none", 0, 4), ("early stopping", -0.5, 2 + seed % 2))
    ]  # fmt: skip
    return {"remedies": cells}


def test_differences_are_paired_by_seed(record):
    import pandas as pd

    found = remedies.table(record, "remedies", ["test_loss"])
    assert list(found.index) == ["none", "early stopping"]
    cells = pd.DataFrame(record["remedies"]).assign(held_out="snli")
    wanted = paired_difference(cells, "early stopping", "none", "test_loss")
    row = found.loc["early stopping"]
    assert [row[f"test_loss_{name}"] for name in ("change", "low", "high")] == pytest.approx(
        [wanted["difference"], wanted["low"], wanted["high"]]
    )
    assert row["seeds"] == 3 and row["test_loss_high"] < 0  # although the seeds differ by 1
    assert found.loc["none", ["test_loss_change", "test_loss_low"]].isna().all()


def test_curves_end_where_the_first_seed_stopped(record):
    found = remedies.curves(record).set_index(["arm", "epoch"])["loss"].sort_index()
    assert found["none"].to_dict() == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    assert found["early stopping"].to_dict() == {1: 1.0, 2: 2.0}


def test_importing_the_study_is_light():
    import subprocess
    import sys

    code = "import sys, cift.remedies, cift.forgetting; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "peft", "optuna", "sklearn"} & set(loaded)
