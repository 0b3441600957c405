"""Figures of training: what is drawn is what the record says."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from cift import plots_training
from cift.comparison_report import accuracies
from cift.errors import InputError

matplotlib.use("Agg")


@pytest.fixture
def record():
    """A made-up record with a strategy or more of each family."""
    named = {"full": 20_000_000, "bitfit": 30_000, "lora": 150_000, "ia3": 9_000, "prompt": 9_000}
    rng = np.random.default_rng(0)
    ways = [{"model": "m", "strategy": name, "trainable": n} for name, n in named.items()]
    cells = [
        {"model": "m", "strategy": name, "size": size, "seed": seed, "accuracy": 0.4 + rng.random() / 4}
        for seed in (0, 1, 2)
        for size in (32, 512)
        for name in named
    ]
    bills = [
        {
            "model": "m",
            "strategy": name,
            "seconds_per_1000": k,
            "loaded_mb": 600,
            "memory_mb": 900 + k,
            "disk_mb": 10**-k,
        }
        for k, name in enumerate(named)
    ]
    read = [{"size": size, "seed": seed, "accuracy": 0.4} for size in (32, 512) for seed in (0, 1, 2)]
    run = {"models": ["m"], "sizes": [32, 512]}
    return {"comparison": "made up", "run": run, "ways": ways, "results": cells, "cost": bills, "baseline": read}


def drawn(ax):
    """Label -> (x, y) of the points of each line that has intervals."""
    return {bars.get_label(): bars.lines[0].get_data() for bars in ax.containers}


def test_each_family_has_a_panel_with_full_beside_it(record):
    (panels,) = plots_training.accuracy_by_size(record)
    assert [set(drawn(ax)) for ax in panels] == [{"full", "bitfit"}, {"full", "lora", "ia3"}, {"full", "prompt"}]
    means = accuracies(record).set_index(["strategy", "size"])["accuracy"]
    for ax in panels:
        for name, (x, y) in drawn(ax).items():
            assert y == pytest.approx(means[name].to_numpy()) and x == pytest.approx([32, 512], rel=0.1)
        assert len({line.get_marker() for line in ax.lines if line.get_marker() in "os^D"}) == len(ax.containers) - 1
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["32", "512"]


def test_each_model_has_a_row(record):
    record["run"]["models"] = ["m", "n"]
    record["results"] += [{**cell, "model": "n"} for cell in record["results"] if cell["strategy"] in ("full", "lora")]
    panels = plots_training.accuracy_by_size(record)
    assert [set(drawn(ax)) for ax in panels[1]] == [{"full"}, {"full", "lora"}, {"full"}]
    assert [row[0].get_ylabel() for row in panels] == ["test accuracy, made up, m", "test accuracy, made up, n"]


def test_unfinished_comparisons_are_drawn_as_far_as_they_are(record):
    record["results"] = record["results"][:5]  # one seed, one size
    (x, y) = drawn(plots_training.accuracy_by_size(record)[0, 1])["lora"]
    assert len(x) == 1 and np.isfinite(y).all()


def test_names_stand_apart_in_the_order_of_accuracy(record):
    ax = plots_training.accuracy_by_parameters(record, 512)
    means = accuracies(record).query("size == 512").sort_values("accuracy")
    assert [text.get_text().split()[0] for text in ax.texts] == means["strategy"].tolist()
    heights = [text.get_position()[1] for text in ax.texts]
    assert min(np.diff(heights)) > 0.999 * np.ptp(ax.get_ylim()) / 22
    assert [text.xy[1] for text in ax.texts] == pytest.approx(means["accuracy"].tolist())
    with pytest.raises(InputError, match="size 64: no result; choose from 32, 512"):
        plots_training.accuracy_by_parameters(record, 64)


def test_labels_move_as_little_as_need_be():
    assert plots_training._apart(np.array([0.0, 1.0, 5.0]), 1).tolist() == [0, 1, 5]
    assert plots_training._apart(np.array([1.0, 1.0, 1.0]), 1) == pytest.approx([0, 1, 2])


def test_costs_are_ranked_by_time(record):
    seconds, memory, disk = plots_training.cost(record)
    assert [tick.get_text() for tick in seconds.get_yticklabels()] == ["full", "bitfit", "lora", "ia3", "prompt"]
    assert memory.lines[0].get_xdata().tolist() == [900, 901, 902, 903, 904] and disk.get_xscale() == "log"
    with pytest.raises(InputError, match="no cost is measured"):
        plots_training.cost(record | {"cost": []})


def test_a_learning_curve_marks_the_epoch_with_the_least_validation_loss():
    history = [{"step": step, "epoch": step / 4, "loss": 1 / step} for step in range(1, 13)]
    for row, loss in zip(history[3::4], (0.9, 0.4, 0.7), strict=True):
        row["validation_loss"] = loss
    training, validation, best = plots_training.learning_curve(history).lines
    assert list(training.get_ydata()) == [row["loss"] for row in history]
    assert list(validation.get_xdata()) == [4, 8, 12] and list(validation.get_ydata()) == [0.9, 0.4, 0.7]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (8, 0.4) and "epoch 2" in best.get_label()
    assert len(plots_training.learning_curve([{"step": 1, "epoch": 1.0, "loss": 0.5}]).lines) == 1


def test_the_rate_finders_figure_shows_the_suggestion_or_why_there_is_none():
    rates = np.geomspace(1e-7, 1, 100)
    loss = np.where(rates < 1e-3, 1.0, 5.0)
    table = pd.DataFrame({"learning_rate": rates, "loss": loss, "smoothed": loss})
    line = plots_training.rate_finder(table).lines[-1]
    assert line.get_xdata()[0] == pytest.approx(1e-4, rel=0.2) and "suggested" in line.get_label()
    ax = plots_training.rate_finder(table[rates < 1e-3])
    assert len(ax.lines) == 2 and "raise high" in ax.get_title(loc="left")
