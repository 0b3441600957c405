"""Shared fixtures: every test has its own empty cache and no mirror, unless it asks for the mirror."""

import os
from pathlib import Path

import pytest

MIRROR = os.environ.get("CIFT_MIRROR")


@pytest.fixture(autouse=True)
def isolated_data(tmp_path_factory, monkeypatch):
    """An empty cache of the test's own; CIFT_MIRROR unset, so that a machine's setting changes no result."""
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("CIFT_MIRROR", raising=False)


@pytest.fixture
def mirror(isolated_data, monkeypatch):
    """The folder of mirrored public data that CIFT_MIRROR named when the tests were started."""
    if not MIRROR:
        pytest.skip("CIFT_MIRROR is not set: the public data is checked only where a mirror of it is at hand")
    if not Path(MIRROR).is_dir():
        pytest.skip(f"CIFT_MIRROR={MIRROR} is not a folder: the public data cannot be checked")
    monkeypatch.setenv("CIFT_MIRROR", MIRROR)
    return Path(MIRROR)
