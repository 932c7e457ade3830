"""Training checkpoints: exact round trip, and nothing lost when killed or out of space."""

import os
import random
import signal

import pytest
import torch
from sentences import refusal
from shell import on_a_full_disk, start

from l4f_plugin.bundles.training_state import flatten_state, load_training_state, save_training_state, unflatten_state


def same(left, right) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def test_an_optimiser_and_random_states_come_back_exactly(tmp_path):
    model = torch.nn.Linear(4, 3)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1 + 1e-17, betas=(0.0, 0.99))
    model(torch.randn(5, 4)).square().mean().backward()
    optimiser.step()
    state = {"optimiser": optimiser.state_dict(), "torch_random": torch.get_rng_state()}
    state |= {"python_random": random.getstate(), "nothing": None, "infinite": float("inf"), "empty": {}}
    state |= {"a": {"b": torch.zeros(1)}, "a/b": torch.ones(1)}
    tensors, structure = flatten_state(state)
    path = tmp_path / "run" / "state.safetensors"
    save_training_state(path, tensors, {"structure": structure, "step": 7})
    loaded, metadata = load_training_state(path)
    assert metadata["step"] == 7
    assert same(unflatten_state(loaded, metadata["structure"]), state)


def test_views_and_shared_tensors_are_stored_whole(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"row": base[1], "transposed": base.T, "base": base, "again": base}
    tensors |= {"scalar": torch.tensor(2), "none": torch.empty(0, 3)}
    save_training_state(tmp_path / "s.safetensors", tensors, {})
    loaded, _ = load_training_state(tmp_path / "s.safetensors")
    assert same(loaded, {name: tensors[name] for name in loaded})
    assert set(loaded) == set(tensors)


@pytest.mark.parametrize("value", [object(), {1.5: torch.zeros(1)}, {True: 1}, b"bytes", {1, 2}])
def test_what_cannot_be_stored_is_refused(value):
    with pytest.raises(TypeError):
        flatten_state({"a": value})


def test_damaged_foreign_and_newer_files_are_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    assert "does not exist" in refusal(load_training_state, path)
    save_training_state(path, {"a": torch.ones(1000)}, {})
    whole = path.read_bytes()
    for cut in (0, 7, 30, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert "damaged" in refusal(load_training_state, path)
    path.write_bytes(whole.replace(b'"version":"1"', b'"version":"2"'))
    assert "newer version" in refusal(load_training_state, path)
    path.write_bytes(whole.replace(b"labels4free-training-state", b"labels4free-training-strut"))
    assert "not a training state" in refusal(load_training_state, path)


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_a_full_disk_leaves_the_old_state(tmp_path):
    path = tmp_path / "state.safetensors"
    save_training_state(path, {"a": torch.ones(10)}, {"step": 1})
    code = """
        import torch
        from l4f_plugin.bundles.training_state import save_training_state
        fill_the_disk(100_000)
        save_training_state(Path(sys.argv[1]), {"a": torch.zeros(1_000_000)}, {"step": 2})
    """
    said = on_a_full_disk(code, path).err
    assert "disk is full" in said and said.count("\n") == 1
    assert load_training_state(path)[1] == {"step": 1}
    assert os.listdir(tmp_path) == ["state.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path):
    path = tmp_path / "state.safetensors"
    code = """
        import sys, torch
        from pathlib import Path
        from l4f_plugin.bundles.training_state import save_training_state
        for step in range(1, 10_000_000):
            save_training_state(Path(sys.argv[1]), {"a": torch.full((300_000,), float(step))}, {"step": step})
            print(step, flush=True)
    """
    process = start(code, path)
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    tensors, metadata = load_training_state(path)
    assert metadata["step"] >= 5
    assert torch.equal(tensors["a"], torch.full((300_000,), float(metadata["step"])))
