"""Several processes train what one does, and only the first of them writes: data parallel, and with sharded weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cift import cli

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on CPU are compared with one there")

FSDP = Path(cli.__file__).with_name("fsdp.yaml")
RECIPE = ["epochs=8", "learning_rate=2e-3", "dropout=0", "precision=fp32"]
ON_CPU = """
# FSDP on CPU, which torch can and accelerate refuses
from accelerate.state import DistributedType, PartialState
start = PartialState.__init__
def pretend(self, *given, **named):
    start(self, *given, **named)
    if self.distributed_type == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
PartialState.__init__ = pretend
import sys
from torch.distributed.tensor import DTensor
from cift import cli, fine_tune_command
fine_tune_command.check_launch = lambda *_: None
gather = fine_tune_command._gathered
def tell(model):
    sharded = all(isinstance(weights, DTensor) for weights in model.parameters())
    sys.stdout.write(f"all sharded: {sharded}\\n")  # in one piece: two processes write here
    return gather(model)
fine_tune_command._gathered = tell
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def lesson(pairs, tmp_path_factory):
    """The pairs as a file."""
    path = tmp_path_factory.mktemp("lesson") / "lesson.csv"
    table = pairs.to_pandas()
    table.assign(label=table["label"].map(dict(enumerate(pairs.features["label"].names)))).to_csv(path, index=False)
    return str(path)


def arguments(lesson, model, out, batch):
    tune = ["fine-tune", lesson, "--validation", lesson, "--model", model, "--out", str(out)]
    return [*tune, "--recipe", *RECIPE, f"batch_size={batch}"]


def launch(*command):
    """What two processes say."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CIFT_QUIET": "1"}
    start = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
    found = subprocess.run([*start, *command], capture_output=True, text=True, env=environment, timeout=300)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def alone(lesson, tiny_model, tmp_path_factory):
    """Folder of a run by one process with batches of 8."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert cli.main(arguments(lesson, tiny_model, out, 8)) == 0
    return out


def assert_same_run(alone, together):
    assert files(together) == files(alone)
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (alone, together))
    assert one.keys() == two.keys()
    for name, weights in one.items():
        # the keys' biases change no logit: their gradient is rounding, which Adam magnifies
        atol = 1e-4 if name.endswith("key.bias") else 1e-6
        torch.testing.assert_close(two[name], weights, atol=atol, rtol=0, msg=name)
    records = [json.loads((folder / "record.json").read_text()) for folder in (alone, together)]
    assert [record["run"]["processes"] for record in records] == [1, 2]
    assert records[0]["run"]["steps"] == records[1]["run"]["steps"] == 48
    assert records[0]["results"] == records[1]["results"]
    assert records[0]["results"]["validation"]["accuracy"] > 0.9


def test_two_processes_train_what_one_does_with_the_doubled_batch(alone, lesson, tiny_model, tmp_path):
    told = launch("--multi_gpu", "-m", "cift.cli", *arguments(lesson, tiny_model, tmp_path / "together", 4))
    assert told.count("trained ") == 1 and "by 2 processes" in told
    assert_same_run(alone, tmp_path / "together")


def test_sharded_weights_train_as_whole_ones(alone, lesson, tiny_model, tmp_path):
    (tmp_path / "on_cpu.py").write_text(ON_CPU)
    command = [str(tmp_path / "on_cpu.py"), *arguments(lesson, tiny_model, tmp_path / "together", 4)]
    told = launch("--config_file", str(FSDP), *command)
    assert told.count("all sharded: True") == 2 and told.count("trained ") == 1
    assert_same_run(alone, tmp_path / "together")
