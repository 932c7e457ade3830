"""Several processes train one network: what two of them come to is what one does with the same whole batch."""

from sentences import refusal
from serving import unused_port
from shell import ended, start
from test_class_training import pictures  # noqa: F401

from l4f_plugin.bundles.training_state import load_training_state
from l4f_plugin.training import together
from l4f_plugin.training.loop import STATE_FILE


def launch(processes: int, *arguments: object) -> str:
    """A program in so many processes; what they say."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", processes, "--master-port", unused_port()]
    done = ended(start(*(launcher if processes > 1 else []), *arguments))
    assert done.code == 0, done.err
    return done.out + done.err


def train(processes: int, *arguments: object) -> str:
    return launch(processes, "-m", "l4f_plugin", "train", *arguments, "--device", "cpu", "--dtype", "float32")


def assert_alike(one, two) -> None:
    (states, told), (others, others_told) = (load_training_state(run / STATE_FILE) for run in (one, two))
    assert states.keys() == others.keys()
    for name, tensor in states.items():
        if tensor.is_floating_point() and "optimizer" not in name:
            assert (others[name] - tensor).abs().max() < 1e-4, name
    assert told.keys() == others_told.keys()


WAYS = {"two": (2, 1), "parts": (1, 2)}
"""Processes, and parts of a batch."""


def test_two_processes_and_parts_of_a_batch_train_a_generator_as_one_does(pictures, tmp_path):  # noqa: F811
    how = ["--resolution", 32, "--channel-base", 256, "--channel-max", 8, "--batch-size", 8, "--name", "dogs"]
    how += ["--augmentation", "adaptive", "--path-length-weight", 1]
    train(1, "generator", pictures, "--out", tmp_path / "one", *how, "--pictures", 64)
    for run, (processes, parts) in WAYS.items():
        command = ["generator", pictures, "--out", tmp_path / run, *how]
        said = train(processes, *command, "--pictures", 40, "--accumulate", parts)
        assert said.count("Training on 12 pictures.") == 1
        assert train(1, *command, "--pictures", 64).count("Going on from 40 pictures.") == 1
        assert_alike(tmp_path / "one", tmp_path / run)
    assert (tmp_path / "two/bundle/generator.safetensors").exists()
    assert len(list((tmp_path / "two").glob("sample_*.png"))) == 2


def test_two_processes_and_parts_of_a_batch_teach_masks_as_one_does(tiny_bundle_folder, tmp_path):
    for run, (processes, parts) in {"one": (1, 1), **WAYS}.items():
        how = ["--out", tmp_path / run, "--batch-size", 8, "--steps", 6, "--accumulate", parts]
        train(processes, "alpha", tiny_bundle_folder, *how)
        assert_alike(tmp_path / "one/attempt1-corners", tmp_path / run / "attempt1-corners")


TEACHES = """
import sys
from pathlib import Path
import numpy as np
from l4f_plugin.training import together
from l4f_plugin.training.cut_pictures import CutPictures
from l4f_plugin.training.loop import train_steps
from l4f_plugin.training.student import StudentSettings, StudentTrainer
settings = StudentSettings(steps=4, batch_size=8, resolution=32, channels=(4, 4), feature_dtype="float32")
parts = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 7), dtype=np.uint8)
with together.team("cpu"):
    train_steps(StudentTrainer(settings, CutPictures(parts)), Path(sys.argv[1]))
print([name for task in Path("/proc/self/task").glob("*") if "gloo" in (name := (task / "comm").read_text())])
"""


def test_two_processes_teach_photographs_as_one_does(tmp_path):
    (tmp_path / "teaches.py").write_text(TEACHES)
    for run, processes in (("one", 1), ("two", 2)):
        said = launch(processes, tmp_path / "teaches.py", tmp_path / run)
        assert said.count("[]") == processes  # no thread is left that could crash the end of the program
    assert_alike(tmp_path / "one", tmp_path / "two")


def test_a_batch_that_cannot_be_shared_is_told(monkeypatch):
    monkeypatch.setattr(together, "size", lambda: 3)
    assert "multiple of 3" in refusal(together.share_of, 8)
    assert "multiple of 6" in refusal(together.share_of, 9, 2)
    assert together.share_of(9) == 3
