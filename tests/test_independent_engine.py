"""Our 2PL against an independent engine, whose estimates benchmarks/irt_reference.py stored with how it made them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cift import crowds, irt, selection

STORED = Path(__file__).parent / "data" / "mirt_401.json"
REAL = ("5GS-E", "5GS-N", "5GS-C", "4GS-N")


def simulated() -> pd.DataFrame:
    """1,000 people x 30 items, 2PL: log a ~ N(0, 0.3^2), b and theta ~ N(0, 1)."""
    rng = np.random.default_rng(0)
    a, b, theta = np.exp(rng.normal(0, 0.3, 30)), rng.standard_normal(30), rng.standard_normal(1000)
    right = rng.random((1000, 30)) < 1 / (1 + np.exp(-a * (theta[:, None] - b)))
    return pd.DataFrame(right.astype(float), columns=[f"i{j}" for j in range(30)])


def published(scale: str) -> pd.DataFrame:
    """Answers to the items that the published study kept for a scale."""
    stratum = crowds.load_crowd("lalor2016")[f"G{scale[0]}"]
    items = crowds.groups(stratum.gold, f"G{scale[0]}")[scale]
    kept = selection.drop_positions(items, selection.PUBLISHED_DROPS[scale])
    return crowds.score(stratum.responses, stratum.gold)[kept]


def fingerprint(scored: pd.DataFrame) -> str:
    """SHA-256 of the answers as int8, -1 where missing: the same data, or the comparison means nothing."""
    return hashlib.sha256(scored.fillna(-1).to_numpy(np.int8).tobytes()).hexdigest()


def agrees(scored: pd.DataFrame, scale: str) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))["scales"][scale]
    assert fingerprint(scored) == stored["data_sha256"]
    bank = irt.calibrate(scored, scale)
    assert list(bank.items["item_id"]) == stored["items"]
    # b can be compared as it is, because every a here is above 0.4: an error in the intercept -a b grows by 1 / a in b
    assert min(stored["a"]) > 0.4
    for name in "ab":
        assert np.abs(bank.items[name] - stored[name]).max() < 0.01
    assert bank.info["log_likelihood"] == pytest.approx(stored["log_likelihood"], abs=0.01)


def test_simulated_answers():
    agrees(simulated(), "simulated")


@pytest.mark.parametrize("scale", REAL)
def test_published_scales(mirror, scale):
    agrees(published(scale), scale)
