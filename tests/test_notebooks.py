"""The notebooks: they run from a fresh kernel with the quick profile, and keep the house rules."""

import json
import re

import pytest

from cift import notebooks
from cift.errors import InputError

NAMES = notebooks.names()


def cells(name):
    return json.loads((notebooks.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_with_the_quick_profile(name, tmp_path, monkeypatch, request):
    monkeypatch.setenv("CIFT_CACHE", str(request.config.cache.mkdir("notebooks")))  # a base model may be kept
    out = notebooks.execute(name, "quick", tmp_path)
    counts = [cell["execution_count"] for cell in json.loads(out.read_text())["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_its_script_executed(name):
    import jupytext

    script = jupytext.read(notebooks.FOLDER / "src" / f"{name}.py")
    committed = cells(name)
    assert [c.source for c in script.cells] == ["".join(c["source"]) for c in committed], "run `make notebooks`"
    code = [cell for cell in committed if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run `make notebooks`"
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
    assert (notebooks.FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_house_rules(name):
    committed = cells(name)
    code = ["".join(cell["source"]) for cell in committed if cell["cell_type"] == "code"]
    prose = [cell for cell in committed if cell["cell_type"] == "markdown"]
    lengths = sorted(len(source.splitlines()) for source in code)
    assert 30 <= len(committed) <= 70
    assert len(prose) >= 0.8 * len(code)
    assert lengths[len(lengths) // 2] <= 10 and lengths[-1] <= 40
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in committed) == 1
    text = "\n".join("".join(cell["source"]) for cell in prose)
    for heading in ("The question", "you can", "Time", "Set-up", "Recap", "Exercises", "Where next"):
        assert heading in text or heading in "\n".join(code), heading
    for k, cell in enumerate(committed[:-1]):
        drawn = any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        following = "".join(committed[k + 1]["source"])
        assert not drawn or re.search(r"\*\*What to see|\*\*Check|^in_words", following), f"figure of cell {k}"


def test_every_profile_names_only_parameters():
    for name in NAMES:
        for profile in notebooks.PROFILES:
            notebooks.parameters(name, profile)
        assert notebooks.parameters(name, "laptop") == {}, "laptop is what the cell says"


def test_a_name_that_the_cell_lacks_is_an_error(tmp_path, monkeypatch):
    for part in ("src/00_x.py", "00_x.ipynb"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / "src" / "00_x.py").write_text('# %% tags=["parameters"]\nPAIRS = 1\n')
    (tmp_path / "profiles.yaml").write_text("00_x:\n  quick: {PAIRZ: 2}\n")
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    notebooks.build("00_x")
    with pytest.raises(InputError, match="profiles.yaml: 00_x, quick: PAIRZ is not in the notebook's parameters cell"):
        notebooks.execute("00_x", "quick", tmp_path / "out")
