"""The protocol on a tiny study: complete, paired, repeatable, resumable, and leak-free."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import small_study

from cift import arms, casestudy, crowds, fetch, finetuning, outcomes, strategies
from cift.errors import InputError
from cift.recipe import Recipe
from cift.studies import STUDIES, lalor2016, load_study


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(casestudy, "FACTORS", (1,))
    monkeypatch.setattr(casestudy, "EPOCHS", (2,))
    return small_study()


def test_every_cell_is_there_and_repeats(study, tiny_model, tmp_path, monkeypatch):
    record = casestudy.run(study, (0, 1), tiny_model)
    results = pd.DataFrame(record["results"])
    assert len(results) == 2 * 2 * len(arms.MAIN)
    assert not results.duplicated(["arm", "held_out", "seed"]).any()
    assert (results["n_train"] == np.where(results["arm"] == arms.BASELINE, 0, 12)).all()
    assert results.loc[results["arm"] == arms.BASELINE].groupby("held_out")["theta"].nunique().eq(1).all()
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


def test_two_pairs_with_one_item_id_are_one_clear_error(study):
    twice = study.pool.map(lambda row: {"item_id": row["item_id"].replace("pair-36", "pair-0")})
    with pytest.raises(InputError, match="study tiny: item_id 'pair-0' is of two pairs"):
        casestudy.run(replace(study, pool=twice))


def test_any_strategy_fine_tunes_a_copy_of_the_base(study, tiny_model, monkeypatch):
    trained = []
    real = finetuning.train
    monkeypatch.setattr(
        finetuning,
        "train",
        lambda model, *given, **named: trained.append(strategies.count(model)) or real(model, *given, **named),
    )
    recipe = Recipe(epochs=1, batch_size=4, strategy="bitfit")
    results = pd.DataFrame(casestudy.run(replace(study, recipe=recipe), (0,), tiny_model, FEW)["results"])
    base, *cells = trained
    assert base[0] == base[1] and cells and all(learnt < total == base[1] for learnt, total in cells)
    assert len(results) == 2 * len(FEW)


def test_a_stopped_run_keeps_its_cells_and_its_base(study, tiny_model, monkeypatch):
    real, calls = outcomes.on_scale, iter(range(100))

    def stop_in_cell_four(*arguments):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(outcomes, "on_scale", stop_in_cell_four)
        casestudy.run(study, (0,), tiny_model)
    record = casestudy.run(study, (0,), tiny_model)
    assert record["run"]["cells_from_ledger"] == 3
    assert record["run"]["base"]["cached"] is True


HERE = Path(__file__).parent
FEW = (arms.BASELINE, "CIFT-MSE")
RUN = """
import sys
from cift import casestudy
from small_study import small_study
casestudy.FACTORS, casestudy.EPOCHS = (1,), (2,)
casestudy.run(small_study(), (0,), sys.argv[1], jobs=2)
"""


def test_killed_anywhere_it_goes_on_and_nothing_is_lost_or_doubled(study, tiny_model, tmp_path, monkeypatch):
    whole = pd.DataFrame(casestudy.run(study, (0,), tiny_model)["results"]).drop(columns="seconds")
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path / "killed"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, (HERE.parent, HERE))])}
    counts = []
    for ledger, enough in (("trials", 3), ("cells", 3)):  # in the midst of the search, then of the cells
        running = subprocess.Popen([sys.executable, "-c", RUN, tiny_model], env=environment, start_new_session=True)
        folder, deadline = tmp_path / "killed" / ledger, time.monotonic() + 100
        while len(list(folder.glob("*.json"))) < enough and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        counts.append(len(list(folder.glob("*.json"))))
    assert counts[0] >= 3 and counts[1] >= 3
    record = casestudy.run(study, (0,), tiny_model)
    assert record["run"]["base"]["cached"] is True and record["run"]["cells_from_ledger"] >= 3
    again = pd.DataFrame(record["results"]).drop(columns="seconds")
    assert not again.duplicated(["arm", "held_out", "seed"]).any()
    pd.testing.assert_frame_equal(again, whole, rtol=1e-4)  # two processes have fewer threads each


def test_a_full_disk_in_base_training_leaves_no_half_model(study, tiny_model, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(casestudy.os, "replace", full)
        casestudy.run(study, (0,), tiny_model, FEW)
    record = casestudy.run(study, (0,), tiny_model, FEW)
    assert record["run"]["base"]["cached"] is False
    assert record["results"]["arm"] == 2 * [arms.BASELINE] + 2 * ["CIFT-MSE"]


def test_changed_data_or_recipe_is_another_base_model(study, tiny_model):
    def base(changed):
        return casestudy.run(changed, (0,), tiny_model, [arms.BASELINE])["run"]["base"]

    first, longer = base(study), base(replace(study, base_recipe=Recipe(epochs=1)))
    shorter = base(replace(study, base=study.base.select(range(6))))
    assert len({first["id"], longer["id"], shorter["id"]}) == 3


def check_no_leak(study):
    casestudy._check_ids(study)
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
        learnt = arms.lesson("CIFT-CCE", study, held, 0)
        assert [learnt["label"][:].count(label) for label in range(3)] == [60, 60, 60]
        assert len(set(held.supplement["item_id"])) == len(held.supplement) == 150
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


def test_the_snow_rte_study_on_real_people(mirror):
    study = load_study("snow-rte")
    check_no_leak(study)
    assert list(study.held_out) == [f"fold {number}" for number in range(1, 6)]
    assert all(study.base.features["label"].names == ["entailment", "not_entailment"] for held in study.held_out)
    measured = [item for held in study.held_out.values() for item in held.items["item_id"]]
    assert len(set(measured)) == len(measured) > 700  # of 800: what all workers answered alike is on no scale
    for held in study.held_out.values():
        assert not set(held.supplement["premise"]) & set(held.items["premise"])
        assert set(held.banks[0].items["item_id"]) <= set(held.supplement["item_id"])
    assert set(study.test["part"]) == {"RTE-2", "RTE-3"} and len(study.test) == 1600


def test_an_unknown_study_is_one_clear_error():
    with pytest.raises(
        InputError, match="study 'rte': unknown; choose from embedded, lalor2016, chaosnli, snow-rte, or"
    ):
        load_study("rte")
    assert set(STUDIES) == {"embedded", "lalor2016", "chaosnli", "snow-rte"}


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
    results = pd.DataFrame(casestudy.run(short, (0,), tiny_model, FEW)["results"])
    assert list(results["arm"]) == list(FEW)
    assert results["n_items"].eq(20).all()
    with pytest.raises(InputError, match="arm 'random items': .* labelled entailment, .. are asked for"):
        casestudy.run(replace(short, pool=study.pool.select(range(20))), (0,), tiny_model, [arms.CONTROL])
    with pytest.raises(InputError, match="arm 'CIFT': unknown; choose from no fine-tuning"):
        casestudy.run(short, (0,), tiny_model, ["CIFT"])
