"""Figures: what they must show is there, in print and for the colour-blind."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from cift import plots
from cift.irt import ItemBank, probability

matplotlib.use("Agg")
ITEMS = pd.DataFrame({"item_id": ["x", "y"], "a": [1.0, 2.0], "b": [-1.0, 1.0], "c": 0.0, "d": 1.0})
BANK = ItemBank(ITEMS, pd.DataFrame({"theta": np.linspace(-2, 2, 50), "theta_se": 0.5}), {"scale": "5GS-E (simulated)"})


def test_item_curves_are_the_models_curves():
    ax = plots.item_curves(BANK, ["y", "x"])
    theta, drawn = ax.lines[0].get_data()
    np.testing.assert_allclose(drawn, probability(theta, ITEMS)[:, 1])
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    assert "y" in ax.get_legend().get_texts()[0].get_text()


def test_models_stand_at_their_ability_with_their_error():
    placed = pd.DataFrame({"theta": [0.5, -0.2], "theta_se": [0.4, 0.3], "percentile": [69.0, 42.0]}, index=["m", "n"])
    ax = plots.ability(BANK, placed, "simulated respondents")
    points = [container.lines[0].get_xdata()[0] for container in ax.containers if hasattr(container, "has_xerr")]
    assert points == pytest.approx([0.5, -0.2])
    assert ax.get_ylabel() == "simulated respondents" and "simulated" in ax.get_xlabel()
    assert len({container.lines[0].get_marker() for container in ax.containers if hasattr(container, "has_xerr")}) == 2


def test_figures_are_saved_whole(tmp_path):
    paths = plots.save(plots.item_curves(BANK, ["x"]).figure, tmp_path / "new" / "curves")
    assert [path.name for path in paths] == ["curves.png", "curves.svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG") and b"<svg" in paths[1].read_bytes()
    assert len(list((tmp_path / "new").iterdir())) == 2
