"""A record in tables and a figure: every arm and scale, and differences as they were put in."""

import copy

import matplotlib
import numpy as np
import pandas as pd
import pytest
from small_study import RECORD, SCALES

from cift import arms, casestudy_report, outcomes, plots

matplotlib.use("Agg")


def test_tables_have_every_scale_and_arm_in_the_protocols_order():
    table = casestudy_report.abilities(RECORD)
    assert list(table.index) == list(SCALES) and list(table.columns) == list(arms.ARMS)
    assert table.loc["5GS-N", "CIFT-CCE"] == "+0.52 ± 0.40  P55"  # 5 / 10 + 1 / 100 + the mean seed's 1 / 100
    means = casestudy_report.means(RECORD)
    assert list(means.index) == list(arms.ARMS)
    assert means.loc["CIFT-CCE", "ability θ"] == pytest.approx(0.52) and means.loc["CIFT-CCE", "pairs learnt"] == 50
    shuffled = copy.deepcopy(RECORD) | {"results": pd.DataFrame(RECORD["results"]).sample(frac=1).to_dict("list")}
    assert list(casestudy_report.means(shuffled).index) == list(arms.ARMS)


def test_differences_are_paired_over_seeds_or_scales():
    by_seed = casestudy_report.differences(RECORD, arms.BASELINE).set_index(["arm", "metric"])
    found = by_seed.loc[("CIFT-MSE", "theta")]
    assert found["difference"] == pytest.approx(0.7 + 0.01)
    assert found["high"] - found["difference"] == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-3)  # t(2), sd .01
    by_scale = casestudy_report.differences(RECORD, arms.BASELINE, ["jsd"], over="held_out").set_index("arm")
    assert by_scale.loc["CIFT-MSE", "low"] == pytest.approx(0.71)  # the same on each scale
    assert arms.BASELINE not in by_scale.index


def test_the_summary_reads_well_with_one_seed_too():
    table = casestudy_report.summary(RECORD)
    assert table.loc["CIFT-CCE", "ability θ, on random items"].startswith("+0.300 [")
    results = pd.DataFrame(RECORD["results"])
    one = RECORD | {"results": results[results["seed"] == 0].to_dict("list")}
    assert not casestudy_report.summary(one).map(lambda cell: "nan" in cell).any(axis=None)
    assert "Study tiny: m, seeds 0 to 2" in casestudy_report.headline(RECORD)


def test_the_figure_shows_every_arm():
    axes = plots.study(RECORD)
    assert len(axes) == 1 + len(outcomes.MAIN)
    assert {text.get_text() for text in axes[0].figure.legends[0].get_texts()} == set(arms.MAIN)
    assert [text.get_text() for text in axes[1].get_yticklabels()] == [arm for arm in arms.ARMS if arm != arms.BASELINE]
