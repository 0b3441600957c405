"""The simulated crowd: its files are what the code writes, and its truth can be recovered."""

import numpy as np
import pandas as pd
import pytest

from cift import crowds, irt, simulate_crowd
from cift.corpora import data_dir

PROBES = data_dir() / "probes"


def test_the_committed_files_are_what_the_code_writes(tmp_path):
    simulate_crowd.write_crowd(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (PROBES / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 6


def test_the_truth_comes_back():
    truth = pd.read_csv(PROBES / "truth_items.csv", index_col=0)
    abilities = pd.read_csv(PROBES / "truth_respondents.csv", index_col=0)["theta"]
    correlations = []
    for name, stratum in crowds.load_crowd("probes").items():
        scored = crowds.score(stratum.responses, stratum.gold)
        assert scored.shape == (1000, 90)
        assert 0.001 < scored.isna().to_numpy().mean() < 0.003
        bank = irt.calibrate(scored, name)
        error = bank.items["b"].to_numpy() - truth.loc[bank.items["item_id"], "b"].to_numpy()
        assert np.mean(np.abs(error) < 1.96 * bank.items["b_se"]) > 0.85
        correlations.append(np.corrcoef(bank.population["theta"], abilities[bank.population.index])[0, 1])
        for group, items in crowds.groups(stratum.gold, name).items():
            assert scored[items].stack().mean() == pytest.approx(simulate_crowd.ACCURACY[group], abs=0.03)
    assert min(correlations) > 0.95


def test_wrong_answers_follow_the_distractor():
    probes = pd.read_csv(PROBES / "probes.csv").set_index("item_id")
    for stratum in crowds.load_crowd("probes").values():
        shares = crowds.label_distributions(stratum.responses)
        wrong = shares.drop(columns="n_responses").mask(
            pd.get_dummies(stratum.gold.loc[shares.index])[list(shares.columns[:3])].to_numpy()
        )
        often = shares.index[wrong.sum(axis=1) > 0.2]  # enough wrong answers to tell
        assert (wrong.loc[often].idxmax(axis=1) == probes.loc[often, "distractor"]).mean() > 0.95
