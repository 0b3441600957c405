"""Verdicts follow from the numbers of a record, in every case there is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import RECORD

from cift import claims, outcomes

RESULTS = Path(__file__).parents[1] / "results"


def record_of(metric, gains, arm="CIFT-CCE", baseline="no fine-tuning"):
    """RECORD's form with two arms on one scale: the arm's metric is the baseline's plus a gain, seed by seed."""
    rows = []
    for seed, gain in enumerate(gains):
        row = {"held_out": "s", "seed": seed, "n_items": 30, "n_test": 2000} | dict.fromkeys(outcomes.METRICS, 0.0)
        rows.append(row | {"arm": baseline, metric: 0.0, "id": f"b{seed}"})
        rows.append(row | {"arm": arm, metric: gain, "id": f"a{seed}"})
    return RECORD | {"results": pd.DataFrame(rows).to_dict("list")}


def verdict(words, record):
    found = claims.table([record])
    return found.loc[found["claim"].str.startswith(words), "verdict"].item()


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.50, 0.51, 0.52], "reproduced"),
        ([-0.50, -0.51, -0.52], "not reproduced"),
        ([0.00, 0.01, -0.01], "not reproduced"),  # no larger than what would matter
        ([1.0, -1.0, 0.5], "inconclusive"),
    ],
)
def test_better(gains, expected):
    assert verdict("gold labels of the crowd's items raise ability", record_of("theta", gains)) == expected


def test_of_a_distance_less_is_better():
    nearer = record_of("jsd", [-0.10, -0.11, -0.12], "CIFT-soft", "temperature")
    assert verdict("soft labels bring the model nearer", nearer) == "reproduced"
    farther = record_of("jsd", [0.10, 0.11, 0.12], "CIFT-soft", "temperature")
    assert verdict("soft labels bring the model nearer", farther) == "not reproduced"


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.001, 0.0, -0.001], "reproduced"),
        ([-0.10, -0.11, -0.12], "not reproduced"),
        ([-0.05, 0.05, 0.0], "inconclusive"),
    ],
)
def test_not_worse(gains, expected):
    assert verdict("gold labels do not hurt the large test set", record_of("test_accuracy", gains)) == expected


def test_many_claims_make_each_harder():
    alone = record_of("theta", [0.3, 0.5, 0.7])  # p .049
    assert verdict("gold labels of the crowd's items raise ability", alone) == "reproduced"
    rows = pd.DataFrame(alone["results"])
    noise = np.random.default_rng(0).normal(size=3)
    more = rows[rows["arm"] == "CIFT-CCE"].assign(arm="CIFT-MSE", id=["m0", "m1", "m2"], theta=noise)
    crowded = alone | {"results": pd.concat([rows, more]).to_dict("list")}
    assert verdict("gold labels of the crowd's items raise ability", crowded) == "inconclusive"


def test_another_record_changes_nothing():
    alone = record_of("theta", [0.3, 0.5, 0.7])
    other = record_of("theta", [0.1, 0.9, -0.4]) | {"study": "other"}
    found = claims.table([alone, other])
    pd.testing.assert_frame_equal(found[found["study"].eq("tiny")], claims.table([alone]))


def test_every_claim_is_told_of_a_whole_record():
    found = claims.table([RECORD])
    assert len(found) == len(claims.CLAIMS) + 2 and not found["claim"].duplicated().any()
    assert set(found["verdict"]) <= {"reproduced", "not reproduced", "inconclusive"}
    assert found["command"].str.startswith("cift case-study --study tiny --model m --seeds 3").all()
    by_claim = found.set_index("claim")
    assert by_claim.loc["the gold label and people's majority differ", "effect"] == pytest.approx(20 / 180)
    assert by_claim.loc["high accuracy does not always mean high ability", "effect"] == 0  # both rise from arm to arm
    assert claims.table([]).empty


def test_verdicts_at_a_glance():
    other = record_of("theta", [0.5, 0.51, 0.52]) | {"study": "other"}
    glance = claims.verdicts(claims.table([RECORD, other], {"results": []}))
    assert list(glance.columns) == ["tiny, m", "other, m"] and len(glance) == len(claims.CLAIMS) + 2
    assert glance.loc[claims.CLAIMS[0].words, "other, m"] == "reproduced"
    assert glance.loc["MSE generalises better than CCE: ability", "other, m"] == ""  # it has no CIFT-MSE


def test_discordant_pairs_by_hand():
    table = pd.DataFrame({"held_out": "s", "id": list("abc"), "accuracy": [0.5, 0.6, 0.7], "theta": [0.0, 0.4, 0.2]})
    assert claims.discordant(table) == {"n": 3, "share": pytest.approx(1 / 3)}


def test_the_published_numbers(mirror):
    found = claims.measure_published()["results"]
    assert len(found) == 4 + 2 * 4
    assert all(abs(row["measured"] - row["published"]) < claims.ROUNDING for row in found)
    committed = json.loads((RESULTS / "published.json").read_text())["results"]
    assert [row["what"] for row in committed] == [row["what"] for row in found]
    assert [row["measured"] for row in committed] == pytest.approx([row["measured"] for row in found], abs=1e-6)
