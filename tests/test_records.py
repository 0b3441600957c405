"""The ledger keeps what is finished, whole; digests stand for content."""

import subprocess
import sys

import numpy as np
import pytest

from cift import records
from cift.corpora import load_corpus


def test_a_finished_result_is_computed_once():
    calls = []

    def compute():
        calls.append(1)
        return {"value": 0.5}

    key = records.digest("data", 3)
    assert records.once("cells", key, compute) == records.once("cells", key, compute) == {"value": 0.5}
    assert len(calls) == 1
    assert records.once("cells", records.digest("data", 4), compute) and len(calls) == 2


def test_what_fails_is_not_kept():
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.once("cells", "k", fail)
    assert records.once("cells", "k", lambda: {"done": True}) == {"done": True}


def test_a_fingerprint_tells_ids_sentences_labels_and_order():
    corpus = load_corpus("scenes", "validation").select(range(5))
    changed = corpus.map(lambda row: {"hypothesis": row["hypothesis"].upper()})
    found = {records.fingerprint(each) for each in (corpus, changed, corpus.select([1, 0, 2, 3, 4]))}
    assert len(found) == 3
    assert records.fingerprint(corpus) == records.fingerprint(load_corpus("scenes", "validation").select(range(5)))


def test_a_record_says_when_where_and_with_what():
    made = records.provenance()
    assert made["date"].endswith("+00:00") and made["versions"]["torch"] and made["machine"]["device"]


def test_the_peak_of_memory_is_the_processs_own():
    held = np.ones(400 * 2**17)  # 400 MB
    child = "from cift.records import peak_memory_mb; print(peak_memory_mb())"
    found = int(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
    assert found < 400 < records.peak_memory_mb(), len(held)
