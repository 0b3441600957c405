"""What is read off a comparison's record: means, intervals, paired differences, and what is missing."""

import copy

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cift.comparison_report import accuracies, headline, summary


@pytest.fixture
def record():
    """A made-up record: two strategies, two sizes, three seeds."""
    ways = [
        {"model": "m", "strategy": name, "learning_rate": 0.1, "trainable": n, "total": 9000}
        for name, n in (("full", 9000), ("lora", 90))
    ]
    cells = [
        {"model": "m", "strategy": strategy, "size": size, "seed": seed, "accuracy": accuracy, "diverged": False}
        for size, strategy, found in (
            (8, "full", (0.5, 0.6, 0.7)), (8, "lora", (0.4, 0.5, 0.63)),
            (64, "full", (0.8, 0.8, 0.83)), (64, "lora", (0.7,)),
        )
        for seed, accuracy in enumerate(found)
    ]  # fmt: skip
    trials = [
        {"model": "m", "strategy": strategy, "size": 8, "learning_rate": rate, "accuracy": rate, "log_loss": 1.0}
        for strategy, rates in (("full", (0.03, 0.1, 0.09)), ("lora", (0.03, 0.1, 0.3)))
        for rate in rates
    ]
    bill = {"seconds_per_1000": 2.34, "loaded_mb": 600.0, "memory_mb": 1234.0, "disk_mb": 0.25}
    machine = {"name": "a computer", "device": "cpu", "threads": 2, "bf16": True}
    run = {
        "machine": machine, "models": ["m"], "seeds": [0, 1, 2], "sizes": [8, 64], "seconds": 60.0, "left_out": [],
        "pairs": {"validation": 500, "test": 1000}, "commonest_label": 0.35,
        "missing": {"search": 0, "cost": 1, "results": 2},
    }  # fmt: skip
    return {
        "comparison": "made up", "run": run, "ways": ways, "search": trials, "results": cells,
        "cost": [{"model": "m", "strategy": "full"} | bill],
        "baseline": [{"size": size, "seed": 0, "accuracy": 0.4} for size in (8, 64)],
    }  # fmt: skip


def test_means_and_paired_differences_have_intervals_over_seeds(record):
    found = accuracies(record).set_index(["strategy", "size"])
    lora = found.loc[("lora", 8)]
    values, changes = [0.4, 0.5, 0.63], [-0.1, -0.1, -0.07]
    for mean, low, high, seen in (
        ("accuracy", "low", "high", values),
        ("difference", "difference_low", "difference_high", changes),
    ):
        wanted = stats.t.interval(0.95, 2, np.mean(seen), stats.sem(seen))
        assert lora[[mean, low, high]].tolist() == pytest.approx([np.mean(seen), *wanted])
    assert lora["high"] - lora["low"] > 5 * (lora["difference_high"] - lora["difference_low"])  # seeds are shared
    assert found["seeds"].tolist() == [3, 3, 3, 1]


def test_what_is_not_there_has_no_number(record):
    found = accuracies(record).set_index(["strategy", "size"])
    assert pd.isna(found.loc[("full", 8), "difference"]) and found.loc[("full", 8), "paired_seeds"] == 0
    single = found.loc[("lora", 64)]
    assert single["difference"] == pytest.approx(-0.1) and single["paired_seeds"] == 1
    assert pd.isna(single["low"]) and pd.isna(single["difference_low"])
    without = copy.deepcopy(record)
    without["results"] = [cell for cell in record["results"] if cell["strategy"] == "lora"]
    assert accuracies(without)["difference"].isna().all()
    assert accuracies(record | {"results": []}).empty


def test_the_summary_says_each_number_once(record):
    table = summary(record)
    assert list(table.columns) == ["trainable", "8 pairs", "64 pairs", "s / 1,000 pairs", "peak MB", "disk MB"]
    assert list(table.index) == ["full", "lora", "hypothesis alone, no encoder", "lora, less full"]
    assert table.loc["full"].tolist() == [
        "9,000", "0.600 [0.352, 0.848]", "0.810 [0.767, 0.853]", "2.3", "1,234", "0.2"
    ]  # fmt: skip
    assert table.loc["lora"].tolist() == ["90", "0.510 [0.224, 0.796]", "0.700", "", "", ""]
    assert table.loc["lora, less full"].tolist() == ["", "-0.090 [-0.133, -0.047]", "-0.100", "", "", ""]
    assert table.loc["hypothesis alone, no encoder", "8 pairs"] == "0.400"
    assert (summary(record | {"results": []}).loc["full", ["8 pairs", "64 pairs"]] == "").all()


def test_several_models_are_told_apart(record):
    other = {name: [row | {"model": "n"} for row in record[name]] for name in ("ways", "results", "cost", "search")}
    both = record | {name: record[name] + rows for name, rows in other.items()}
    both["run"] = record["run"] | {"models": ["m", "n"]}
    assert list(summary(both).index)[:4] == ["m full", "m lora", "n full", "n lora"]


def test_the_headline_says_how_rates_were_found_and_what_is_missing(record):
    told = headline(record)
    assert "the lowest or highest in 1 of 2 searches" in told
    assert "not finished: 1 of cost, 2 of results are missing; the same command goes on" in told
    assert "diverged" not in headline(record)
    record["results"][0]["diverged"] = True
    assert "counted as no right answer: 1 of 10 results" in headline(record)
    record["run"] |= {"missing": {"results": 0}, "left_out": [{"model": "m", "strategy": "ia3", "why": "no place"}]}
    assert "not finished" not in headline(record) and "left out: ia3 on m: no place" in headline(record)
