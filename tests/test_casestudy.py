"""The protocol on a tiny study: complete, paired, repeatable, resumable, and leak-free."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cift import casestudy, crowds, fetch, finetuning, plots, strategies
from cift.errors import InputError
from cift.irt import ItemBank
from cift.recipe import Recipe
from cift.studies import STUDIES, HeldOut, Study, lalor2016, load_study


@pytest.fixture
def study(pairs):
    """Two held-out scales of 6 pairs, each learnt from the other; items of known parameters."""

    def bank(items):
        table = pd.DataFrame({"item_id": items["item_id"], "a": 1.0, "b": 0.0, "c": 0.0, "d": 1.0})
        return ItemBank(table, pd.DataFrame({"theta": [0.0], "theta_se": [1.0]}), {"scale": "tiny"})

    first, second = pairs.select(range(6)), pairs.select(range(6, 12))
    distributions = pd.DataFrame(
        [[0.6, 0.3, 0.1]] * len(pairs), index=pairs["item_id"], columns=["entailment", "neutral", "contradiction"]
    )
    return Study(
        name="tiny",
        population="nobody",
        base=pairs.select(range(12, 36)),
        pool=pairs.select(range(36, 48)),
        test=pairs.select(range(24, 48)),
        held_out={
            "first": HeldOut(bank(first), first, second, first),
            "second": HeldOut(bank(second), second, first, second),
        },
        distributions=distributions,
        base_recipe=Recipe(epochs=2, batch_size=8, learning_rate=1e-3),
        recipe=Recipe(epochs=2, batch_size=4, learning_rate=1e-3, strategy="frozen", options={"trainable_layers": 1}),
    )


def test_every_cell_is_there_and_repeats(study, tiny_model, tmp_path, monkeypatch):
    record = casestudy.run(study, (0, 1), tiny_model)
    results = pd.DataFrame(record["results"])
    assert len(results) == 2 * 2 * len(casestudy.ARMS)
    assert not results.duplicated(["arm", "held_out", "seed"]).any()
    assert (results["n_train"] == np.where(results["arm"] == casestudy.BASELINE, 0, 6)).all()
    assert results.loc[results["arm"] == casestudy.BASELINE].groupby("held_out")["theta"].nunique().eq(1).all()
    assert record["run"]["base"]["cached"] is False and record["run"]["cells_from_ledger"] == 0
    json.dumps(record, allow_nan=False)

    again = casestudy.run(study, (0, 1), tiny_model)
    assert again["results"] == record["results"]
    assert again["run"]["cells_from_ledger"] == len(results)

    shutil.rmtree(fetch.cache_dir() / "cells")
    columns = [name for name in results if name != "seconds"]
    with_cached_base = casestudy.run(study, (0, 1), tiny_model)
    assert with_cached_base["run"]["base"]["cached"] is True
    pd.testing.assert_frame_equal(pd.DataFrame(with_cached_base["results"])[columns], results[columns])

    monkeypatch.setenv("CIFT_CACHE", str(tmp_path / "elsewhere"))
    afresh = pd.DataFrame(casestudy.run(study, (0, 1), tiny_model)["results"])
    pd.testing.assert_frame_equal(afresh[columns], results[columns])


def test_any_strategy_fine_tunes_a_copy_of_the_base(study, tiny_model, monkeypatch):
    trained = []
    real = finetuning.train
    monkeypatch.setattr(
        finetuning,
        "train",
        lambda model, *given, **named: trained.append(strategies.count(model)) or real(model, *given, **named),
    )
    recipe = Recipe(epochs=1, batch_size=4, strategy="bitfit")
    results = pd.DataFrame(casestudy.run(replace(study, recipe=recipe), (0,), tiny_model)["results"])
    base, *cells = trained
    assert base[0] == base[1] and cells and all(learnt < total == base[1] for learnt, total in cells)
    assert len(results) == 2 * len(casestudy.ARMS)


def test_a_stopped_run_keeps_its_cells_and_its_base(study, tiny_model, monkeypatch):
    real, calls = casestudy.place, iter(range(100))

    def stop_in_cell_four(*arguments):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(casestudy, "place", stop_in_cell_four)
        casestudy.run(study, (0,), tiny_model)
    record = casestudy.run(study, (0,), tiny_model)
    assert record["run"]["cells_from_ledger"] == 3
    assert record["run"]["base"]["cached"] is True


def test_a_full_disk_in_base_training_leaves_no_half_model(study, tiny_model, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(casestudy.os, "replace", full)
        casestudy.run(study, (0,), tiny_model)
    record = casestudy.run(study, (0,), tiny_model)
    assert record["run"]["base"]["cached"] is False
    assert len(record["results"]) == 2 * len(casestudy.ARMS)


def test_changed_data_or_recipe_is_another_base_model(study, tiny_model):
    first = casestudy.run(study, (0,), tiny_model)["run"]["base"]
    longer = casestudy.run(replace(study, base_recipe=Recipe(epochs=1)), (0,), tiny_model)["run"]["base"]
    shorter = casestudy.run(replace(study, base=study.base.select(range(12))), (0,), tiny_model)["run"]["base"]
    assert len({first["id"], longer["id"], shorter["id"]}) == 3


def test_summary_and_figure_show_every_scale_and_arm(study, tiny_model):
    import matplotlib

    matplotlib.use("Agg")
    record = casestudy.run(study, (0, 1), tiny_model)
    table = casestudy.summary(record)
    assert list(table.columns) == list(casestudy.ARMS)
    assert list(table.index[:2]) == ["first", "second"]
    axes = plots.study(record)
    assert len(axes) == 1 + len(casestudy.METRICS)
    assert not casestudy.summary(casestudy.run(study, (0,), tiny_model)).map(lambda cell: "nan" in cell).any().any()
    assert {text.get_text() for text in axes[0].figure.legends[0].get_texts()} == set(casestudy.ARMS)
    assert "Study tiny" in casestudy.headline(record)


def check_no_leak(study):
    for held in study.held_out.values():
        learnt = set(held.supplement["item_id"])
        assert not learnt & set(held.items["item_id"])
        assert not learnt & set(held.people["item_id"])
        assert set(held.items["item_id"]) == set(held.bank.items["item_id"])
        assert learnt <= set(study.distributions.index)
    assert not set(study.base["item_id"]) & set(study.pool["item_id"])
    assert not set(study.base["item_id"]) & set(study.test["item_id"])


def test_the_embedded_study_leaves_groups_out():
    study = load_study("embedded")
    check_no_leak(study)
    assert list(study.held_out) == ["5GS-E", "5GS-N", "5GS-C", "4GS-E", "4GS-N", "4GS-C"]
    assert (len(study.base), len(study.pool), len(study.test)) == (11_000, 1_000, 2_000)
    premises = set(study.base["premise"])
    assert not premises & set(study.test["premise"])
    for held in study.held_out.values():
        assert [held.supplement["label"][:].count(label) for label in range(3)] == [60, 60, 60]
    assert all("simulated" in held.bank.info["scale"] for held in study.held_out.values())


def test_the_chaosnli_study_on_real_people(mirror):
    study = load_study("chaosnli")
    check_no_leak(study)
    held = study.held_out["model-crowd"]
    assert len(held.supplement) + len(held.people) == 1514 and abs(len(held.supplement) - 757) < 40
    assert not set(held.supplement["premise"]) & set(held.people["premise"])
    assert len(held.items) == 300
    assert set(held.items["item_id"]) <= set(study.test["item_id"])
    assert held.bank.info["converged"]
    ranked = crowds.load_model_crowd().mean(axis=1)
    assert np.corrcoef(ranked.rank(), held.bank.population["theta"].rank())[0, 1] > 0.9


def test_an_unknown_study_is_one_clear_error():
    with pytest.raises(InputError, match="study 'rte': unknown; choose from embedded, lalor2016, chaosnli"):
        load_study("rte")
    assert set(STUDIES) == {"embedded", "lalor2016", "chaosnli"}


def test_quiet_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    assert finetuning.quiet()


@pytest.fixture
def snli_zip(mirror, monkeypatch):
    """A small zip in the form of the SNLI release: sentences for the 180 items, and 300 further training pairs."""
    items = [item for stratum in crowds.load_crowd("lalor2016").values() for item in stratum.gold.items()]
    labels = ("entailment", "neutral", "contradiction")
    items += [(f"extra-{i}.jpg#0r1{labels[i % 3][0]}", labels[i % 3]) for i in range(300)]
    lines = [
        {"pairID": item, "gold_label": label, "sentence1": f"Scene {i}.", "sentence2": f"It is {label}."}
        for i, (item, label) in enumerate(items)
    ]
    path = fetch.cache_dir() / "snli" / "snli_1.0.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("snli_1.0/snli_1.0_train.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    digest = hashlib.sha1(path.read_bytes()).hexdigest()
    source = fetch.REGISTRY["snli/snli_1.0.zip"]._replace(hash=f"sha1:{digest}", bytes=None)
    monkeypatch.setitem(fetch.REGISTRY, "snli/snli_1.0.zip", source)


def test_the_published_study_with_a_small_zip(snli_zip, tiny_model):
    study = lalor2016(train_pairs=100)
    check_no_leak(study)
    assert list(study.held_out) == ["5GS-E", "5GS-N", "5GS-C", "4GS-N", "4GS-C"]
    sizes = [len(held.items) for held in study.held_out.values()]
    assert sizes[:4] == [28, 28, 20, 28] and 20 <= sizes[4] <= 30
    assert (len(study.base), len(study.pool)) == (100, 200)
    assert not set(study.base["item_id"]) & set(study.distributions.index)
    one = {"5GS-C": study.held_out["5GS-C"]}
    short = replace(study, test=study.test.select(range(20)), recipe=Recipe(epochs=1), held_out=one)
    results = pd.DataFrame(casestudy.run(short, (0,), tiny_model)["results"])
    assert list(results["arm"]) == list(casestudy.ARMS)
    assert results["n_items"].eq(20).all()
    with pytest.raises(
        InputError, match="pool: .. pairs labelled entailment cannot match the .. of the supplemental set"
    ):
        casestudy.run(replace(short, pool=study.pool.select(range(20))), (0,), tiny_model)
