"""Figures of evaluation: what is drawn is what the tables say."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from cift import plots_evaluation

matplotlib.use("Agg")


def test_reliability_diagram():
    table = pd.DataFrame(
        {"bin": [6, 9], "confidence": [0.57, 0.88], "accuracy": [0.5, 0.7], "n": [1200, 3], "low": [0.4, 0.2]}
    ).assign(high=[0.6, 0.9])
    ax = plots_evaluation.reliability_diagram(table)
    (bars,) = ax.containers
    x, y = bars.lines[0].get_data()
    assert x.tolist() == table["confidence"].tolist() and y.tolist() == table["accuracy"].tolist()
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    assert ends == pytest.approx(table[["low", "high"]].to_numpy())
    assert [text.get_text() for text in ax.texts] == ["1,200", "3"]
