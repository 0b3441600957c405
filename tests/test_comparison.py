"""The comparison of strategies: fair by construction, resumable anywhere, the same numbers wherever cells run."""

import json

import joblib
import numpy as np
import pytest

from cift import comparison, strategies
from cift.comparison import SEARCH_SEED, run
from cift.corpora import load_corpus, overlap
from cift.errors import InputError
from cift.splits import crossing

BILL = {"seconds_per_1000": 1.0, "loaded_mb": 500.0, "memory_mb": 600.0, "disk_mb": 0.1}
COST = comparison.cost


@pytest.fixture(scope="module")
def scenes():
    return load_corpus("scenes", "train").select(range(400)), load_corpus("scenes", "test").select(range(40))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few steps, few validation pairs, and no process for each bill."""
    monkeypatch.setattr(comparison, "STEPS", 4)
    monkeypatch.setattr(comparison, "EPOCHS", 1)
    monkeypatch.setattr(comparison, "VALIDATION", 20)
    monkeypatch.setattr(comparison, "cost", lambda *_: BILL)


@pytest.fixture
def calls(monkeypatch):
    """Cells that only note what they were asked; the middle learning rate does best, at 8 pairs the lowest does."""
    made = []

    def noted(model, recipe, seed, lesson, exam):
        made.append((recipe, seed, lesson, exam))
        off = abs(np.log(recipe.learning_rate / (1e-3 / 3 if len(lesson) == 8 else 1e-3)))
        return {"accuracy": 0.5, "log_loss": float(off), "diverged": False, "seconds": 0.0}

    monkeypatch.setattr(comparison, "cell", noted)
    monkeypatch.setattr(strategies, "STRATEGIES", {
        name: strategies.STRATEGIES[name].__class__(**(vars(strategies.STRATEGIES[name]) | {"learning_rate": 1e-3}))
        for name in ("full", "bitfit", "lora")
    })  # fmt: skip
    return made


def test_every_strategy_gets_the_same_pairs_and_steps(scenes, tiny_model, calls):
    train, test = scenes
    run("scenes", train, test, [tiny_model], ["full", "bitfit"], [8, 48], seeds=2)
    lessons = {}
    for recipe, seed, lesson, exam in calls:
        key = (seed, len(lesson), len(exam))
        assert lessons.setdefault(key, (lesson["item_id"][:], recipe.epochs)) == (lesson["item_id"][:], recipe.epochs)
        assert recipe.epochs == (4 if len(lesson) == 8 else 2)  # four steps: of 8, of 16
        assert (
            exam["item_id"][:] == test["item_id"][:] if seed != SEARCH_SEED else len(exam) == pytest.approx(20, abs=4)
        )
    assert len(lessons) == 5 and len(calls) == 2 * 3 + 2 * 2 * 2
    small, large = lessons[0, 8, 40][0], lessons[0, 48, 40][0]
    assert large[:8] == small and len(set(large)) == 48 and lessons[1, 8, 40][0] != small


def test_no_pair_is_trained_on_that_is_examined(scenes, tiny_model, calls):
    train, _ = scenes
    run("scenes", train, train.select(range(50)), [tiny_model], ["full"], [8, 48], seeds=2)
    for _, _, lesson, exam in calls:
        assert not overlap(lesson, exam)
    validation = calls[0][3]
    assert not len(crossing({"lesson": calls[3][2], "validation": validation})) and not overlap(
        validation, calls[-1][3]
    )


def test_sizes_of_as_many_steps_share_a_search(scenes, tiny_model, calls, monkeypatch):
    monkeypatch.setattr(comparison, "STEPS", 2)  # 48 pairs take three
    record = run("scenes", *scenes, [tiny_model], ["full", "bitfit"], [8, 16, 48], seeds=2)
    tried = {(trial["strategy"], trial["size"], round(trial["learning_rate"], 5)) for trial in record["search"]}
    assert tried == {(s, n, r) for s in ("full", "bitfit") for n in (16, 48) for r in (0.00033, 0.001, 0.003)}
    assert {trial["seed"] for trial in record["search"]} == {SEARCH_SEED}
    assert {(cell["size"], round(cell["learning_rate"], 5)) for cell in record["results"]} == {
        (8, 0.001), (16, 0.001), (48, 0.001)
    }  # fmt: skip


def test_the_most_accurate_rate_wins_and_of_equals_the_surest():
    def trial(rate, accuracy, log_loss, strategy="s"):
        way = {"model": "m", "strategy": strategy, "size": 8}
        return way | {"learning_rate": rate, "accuracy": accuracy, "log_loss": log_loss}

    trials = [trial(1, 0.5, 0.1), trial(2, 0.6, 0.9), trial(3, 0.6, 0.8), trial(1, 0.9, 0.1, strategy="t")]
    assert comparison.best_rates(trials) == {("m", "s", 8): 3}  # of t not all are tried


def test_a_record_holds_the_grid_and_what_it_was_made_of(scenes, tiny_model, calls):
    record = run("scenes", *scenes, [tiny_model], ["full", "bitfit"], [8, 48], seeds=2)
    assert [(cell["seed"], cell["size"], cell["strategy"]) for cell in record["results"]] == [
        (seed, size, strategy) for seed in (0, 1) for size in (8, 48) for strategy in ("full", "bitfit")
    ]
    full, bitfit = record["ways"]
    assert full["trainable"] == full["total"] > 50 * bitfit["trainable"]
    assert [bill["size"] for bill in record["cost"]] == [48, 48] and record["cost"][0]["memory_mb"] == 600
    assert [(read["size"], read["seed"]) for read in record["baseline"]] == [(8, 0), (8, 1), (48, 0), (48, 1)]
    assert record["run"]["missing"] == {"search": 0, "cost": 0, "results": 0}
    assert set(record["run"]) >= {"date", "machine", "versions", "data", "pairs", "epochs", "batch_size", "seeds"}
    assert json.loads(json.dumps(record))["results"] == record["results"]


def test_what_a_model_cannot_take_is_left_out_unless_asked_for(scenes, tiny_model, calls, monkeypatch):
    prepare = strategies.prepare

    def picky(model, name, options=None):
        if name == "lora":
            raise InputError("lora: has nowhere to go")
        return prepare(model, name, options)

    monkeypatch.setattr(strategies, "prepare", picky)
    record = run("scenes", *scenes, [tiny_model], sizes=[8], seeds=2)
    assert record["run"]["left_out"] == [{"model": tiny_model, "strategy": "lora", "why": "lora: has nowhere to go"}]
    assert {cell["strategy"] for cell in record["results"]} == {"full", "bitfit"}
    with pytest.raises(InputError, match="nowhere to go"):
        run("scenes", *scenes, [tiny_model], ["full", "lora"], [8], seeds=2)


def test_a_stopped_run_goes_on_where_it_was(scenes, tiny_model, calls, monkeypatch):
    grid = (*scenes, [tiny_model], ["full", "bitfit"], [8, 48], 2)
    noted = comparison.cell

    def stopped(*call):
        if len(calls) == 9:
            raise KeyboardInterrupt
        return noted(*call)

    monkeypatch.setattr(comparison, "cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("scenes", *grid)
    monkeypatch.setattr(comparison, "cell", noted)
    first = run("scenes", *grid)
    assert len(calls) == 14  # 6 trials and 8 cells, each once
    again = run("scenes", *grid)
    assert len(calls) == 14 and again["results"] == first["results"] and again["search"] == first["search"]
    run("scenes", *grid[:-1], 3)
    assert len(calls) == 18  # a further seed costs its own cells only


def test_when_the_time_is_over_nothing_is_started(scenes, tiny_model, calls, monkeypatch):
    grid = (*scenes, [tiny_model], ["full", "bitfit"], [8, 48], 2)
    noted, clock = comparison.cell, [0.0]

    def slow(*call):
        clock[0] += 60
        return noted(*call)

    monkeypatch.setattr(comparison, "cell", slow)
    monkeypatch.setattr(comparison.time, "monotonic", lambda: clock[0])
    record = run("scenes", *grid, minutes=5)
    assert len(record["search"]) == 5 and not record["results"] and not record["cost"]
    assert record["run"]["missing"] == {"search": 1, "cost": 2, "results": 8}
    record = run("scenes", *grid, minutes=3)
    assert record["run"]["missing"] == {"search": 0, "cost": 0, "results": 6}
    assert [cell["strategy"] for cell in record["results"]] == ["full", "bitfit"]
    record = run("scenes", *grid)
    assert not any(record["run"]["missing"].values()) and len(calls) == 14  # each once


def numbers(record):
    return [(cell["accuracy"], cell["log_loss"]) for cell in record["search"] + record["results"]]


def test_one_process_two_or_a_dask_cluster_find_the_same(scenes, tiny_model, tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    grid = (*scenes, [tiny_model], ["full"], [16], 2)
    alone = numbers(run("scenes", *grid))
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path / "two"))
    assert numbers(run("scenes", *grid, jobs=2)) == alone
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path / "cluster"))
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        with Client(cluster), joblib.parallel_config(backend="dask"):
            assert numbers(run("scenes", *grid)) == alone


def test_a_cell_learns_and_is_examined(pairs, tiny_model):
    recipe = comparison.Recipe(epochs=24, batch_size=8, learning_rate=3e-3)
    found = comparison.cell(tiny_model, recipe, 0, pairs, pairs)
    assert found["accuracy"] > 0.9 and 0 < found["log_loss"] < 0.5 and found["seconds"] > 0 and not found["diverged"]


def test_what_diverges_has_no_right_answer(pairs, tiny_model):
    found = comparison.cell(tiny_model, comparison.Recipe(learning_rate=1e38, clip=None), 0, pairs, pairs)
    assert found["diverged"] and found["accuracy"] == 0 and found["log_loss"] == pytest.approx(-np.log(1e-12))


def test_costs_are_those_of_a_process_of_its_own(pairs, tiny_model):
    found = COST(tiny_model, comparison.Recipe(strategy="bitfit", epochs=2, batch_size=16), 0, pairs)
    assert found["seconds_per_1000"] > 0 and 100 < found["loaded_mb"] <= found["memory_mb"] < 3000
    assert 0 < found["disk_mb"] < 0.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy_names": ["magic"]}, "strategy 'magic' is unknown; choose from full"),
        ({"model_names": ["no-such-model"]}, "model 'no-such-model': cannot be loaded"),
        ({"sizes": [8, 1000]}, "sizes go up to 1000, but 3.. of the 400 training pairs"),
        ({"sizes": []}, "sizes are none; give at least one"),
        ({"sizes": [0, 8]}, "sizes are 0, 8"),
        ({"sizes": [1]}, "1 pairs without two different labels"),
        ({"seeds": 1}, "seeds is 1; an interval needs 2"),
        ({"minutes": 0}, "minutes is 0"),
        ({"jobs": 0}, "jobs is 0"),
    ],
)
def test_a_grid_that_cannot_be_made_is_said_so_before_training(given, words, scenes, tiny_model, calls):
    with pytest.raises(InputError, match=words):
        run("scenes", *scenes, **({"model_names": [tiny_model], "sizes": [8]} | given))
    assert not calls


def test_splits_with_other_labels_are_refused(scenes, pairs):
    from datasets import ClassLabel

    other = pairs.cast_column("label", ClassLabel(names=["a", "b", "c"]))
    with pytest.raises(InputError, match="labels are entailment, neutral, contradiction in train, a, b, c in test"):
        run("mixed", scenes[0], other)
