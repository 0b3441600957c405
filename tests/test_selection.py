"""Which items go into the supplemental set."""

import pandas as pd
import pytest

from cift import selection
from cift.errors import InputError
from cift.irt import ItemBank


def test_published_positions_leave_the_published_counts():
    items = [f"i{k}" for k in range(1, 31)]
    kept = {scale: selection.drop_positions(items, drops) for scale, drops in selection.PUBLISHED_DROPS.items()}
    assert {scale: len(left) for scale, left in kept.items()} == {"5GS-E": 28, "5GS-N": 28, "5GS-C": 20, "4GS-N": 28}
    assert "i22" not in kept["5GS-E"] and "i21" in kept["5GS-E"]


def test_only_items_that_surely_discriminate_are_kept():
    items = pd.DataFrame({"item_id": ["x", "y", "z"], "a": [1.0, 0.3, -1.0], "a_se": [0.3, 0.3, 0.1]})
    assert selection.discriminating(ItemBank(items, pd.DataFrame(), {})) == ["x"]


def test_labels_are_balanced_by_repetition(pairs):
    kept = [i for i, label in enumerate(pairs["label"]) if label == 0 or i < 12]  # 16 entailment, 4 and 4 others
    balanced = selection.balance(pairs.select(kept))
    counts = pd.Series(balanced["label"]).value_counts()
    assert counts.tolist() == [16, 16, 16]
    assert set(balanced["item_id"]) == {pairs["item_id"][i] for i in kept}
    assert pd.Series(balanced["item_id"]).value_counts().max() == 4


def test_the_held_out_group_is_not_learnt_from():
    groups = {"E": ["1", "2"], "N": ["3"], "C": ["4"]}
    assert selection.leave_one_out(groups, "E") == ["3", "4"]
    with pytest.raises(InputError, match="group 'X': unknown; choose from E, N, C"):
        selection.leave_one_out(groups, "X")
