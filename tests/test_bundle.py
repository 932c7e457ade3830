"""Bundles: exact round trips, every kind of damage told in one sentence, nothing lost when saving fails."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from alike import assert_same_weights
from bundles import tiny_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentences import refusal
from shell import on_a_full_disk

from l4f_plugin.bundles import files
from l4f_plugin.bundles.bundle import load_bundle, save_bundle
from l4f_plugin.bundles.files import sha256_of
from l4f_plugin.errors import UserError


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    save_bundle(tiny_bundle(), folder, dtype=torch.float32)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def edit_config(folder: Path, change) -> None:
    data = json.loads((folder / "config.json").read_text())
    change(data)
    (folder / "config.json").write_text(json.dumps(data))


def list_anew(folder: Path, name: str) -> None:
    """Puts a changed file into the list of the config, so that only its content is wrong."""
    entry = {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
    edit_config(folder, lambda data: data["files"].update({name: entry}))


def assert_equal_networks(left, right):
    ours, theirs = left.networks(), right.networks()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_same_weights(ours[name], theirs[name])


def test_a_float32_round_trip_keeps_every_bit(folder):
    bundle, original = load_bundle(folder, with_discriminator=True), tiny_bundle()
    assert_equal_networks(bundle, original)
    assert torch.equal(bundle.generator.latent_avg, original.generator.latent_avg)
    assert replace(bundle.config, files={}) == original.config
    assert not bundle.generator.training and bundle.generator.synthesis.constant.requires_grad
    z = torch.randn(2, 6)
    with torch.inference_mode():
        torch.testing.assert_close(bundle.generator(z, 0.7), original.generator(z, 0.7))


def test_optional_networks_may_be_absent_and_the_discriminator_is_read_on_request_only(folder, tmp_path):
    assert load_bundle(folder).discriminator is None
    save_bundle(tiny_bundle(without=("alpha", "background", "discriminator")), tmp_path / "plain")
    loaded = load_bundle(tmp_path / "plain", with_discriminator=True)
    assert set(loaded.networks()) == {"generator"} and loaded.config.discriminator is None


def test_half_precision_is_half_the_size_and_close(folder, tmp_path):
    save_bundle(tiny_bundle(), tmp_path / "half", dtype=torch.float16)
    small, large = ((each / "generator.safetensors").stat().st_size for each in (tmp_path / "half", folder))
    assert small < 0.7 * large
    half = load_bundle(tmp_path / "half").generator.state_dict()
    for name, tensor in load_bundle(folder).generator.state_dict().items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], tensor, rtol=1e-3, atol=1e-3)


def test_saving_again_by_default_loses_nothing_and_stays_half(tmp_path):
    save_bundle(tiny_bundle(), tmp_path / "half", dtype=torch.float16)
    save_bundle(load_bundle(tmp_path / "half", with_discriminator=True), tmp_path / "again")
    for path in (tmp_path / "half").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    save_bundle(tiny_bundle(), tmp_path / "full")
    assert_equal_networks(load_bundle(tmp_path / "full", with_discriminator=True), tiny_bundle())


def test_what_half_precision_cannot_hold_stays_float32(tmp_path):
    bundle = tiny_bundle()
    bundle.generator.synthesis.constant.data[0, 0, 0, 0] = 1e6
    save_bundle(bundle, tmp_path / "b", dtype=torch.float16)
    assert load_bundle(tmp_path / "b").generator.synthesis.constant[0, 0, 0, 0] == 1e6


def test_the_model_card_comes_along(folder, tmp_path):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: cc0-1.0\n") and "library_name: labels4free" in card
    (folder / "README.md").write_text("# written by hand\n", encoding="utf-8")
    save_bundle(load_bundle(folder), tmp_path / "copy")
    assert (tmp_path / "copy/README.md").read_text() == "# written by hand\n"


# --- damage


def test_a_missing_folder_and_a_foreign_folder(tmp_path):
    assert "holds no config.json" in refusal(load_bundle, tmp_path / "none")
    assert "holds no config.json" in refusal(load_bundle, tmp_path)


@pytest.mark.parametrize("name", ["generator", "alpha", "background", "discriminator"])
def test_truncated_changed_and_renamed_files(folder, name):
    path = folder / f"{name}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert "cut short" in refusal(load_bundle, folder, with_discriminator=True)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "sha256 differs" in refusal(load_bundle, folder, with_discriminator=True)
    path.rename(folder / "renamed.safetensors")
    assert "missing, perhaps it was renamed" in refusal(load_bundle, folder, with_discriminator=True)


def test_a_generator_that_is_not_listed(folder):
    edit_config(folder, lambda data: data["files"].pop("generator.safetensors"))
    assert "does not list generator.safetensors" in refusal(load_bundle, folder)


def test_swapped_files(folder):
    shutil.copy(folder / "background.safetensors", folder / "alpha.safetensors")
    list_anew(folder, "alpha.safetensors")
    assert "belongs to another network" in refusal(load_bundle, folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.update({"synthesis.constant": torch.zeros(1, 8, 4, 5)}), "with shape [1, 8, 4, 5]"),
        (lambda t: t.update({"synthesis.constant": torch.zeros(8, 4, 4)}), "with shape [8, 4, 4]"),
        (lambda t: t.update({"synthesis.constant": torch.zeros(1, 8, 4, 4, dtype=torch.int32)}), "as I32"),
        (lambda t: t.update({"synthesis.constant": torch.full((1, 8, 4, 4), float("nan"))}), "not finite"),
        (lambda t: t["synthesis.to_rgb.0.bias"].fill_(float("-inf")), "not finite"),
        (lambda t: t.pop("synthesis.constant"), "lacks tensor synthesis.constant"),
        (lambda t: t.update({"extra\n": torch.zeros(1)}), "unknown tensor extra?"),
    ],
)
def test_content_that_does_not_fit(folder, change, expected):
    tensors = load_file(folder / "generator.safetensors")
    change(tensors)
    save_file(tensors, folder / "generator.safetensors")
    list_anew(folder, "generator.safetensors")
    assert expected in refusal(load_bundle, folder)


def test_a_listed_file_that_is_no_safetensors_file(folder):
    (folder / "alpha.safetensors").write_bytes(b"\xff" * 100)
    list_anew(folder, "alpha.safetensors")
    assert "not a safetensors file" in refusal(load_bundle, folder)


def test_a_later_schema_asks_for_an_update(folder):
    (folder / "config.json").write_text('{"schema_version": 2}')
    assert "newer version" in refusal(load_bundle, folder) and "update" in refusal(load_bundle, folder)


BIG, HASH = 10**400, "0" * 64
WRONG_VALUES = {
    "schema_version": [0, "1", True, None],
    "class_name": ["../up", "Tiny", "", 7],
    "title": ["", "two\nlines", "x" * 201],
    "licence": [None],
    "source": [[]],
    "truncation_psi": [2.1, "0.7", True, BIG],
    "alpha_threshold": [-0.1, None],
    "crop": [[0, 33, 0, 32], [5, 5, 0, 32], [0, 32], "0", [0.0, 32, 0, 32]],
    "latent_avg": [[BIG] * 7, [], [0.0] * 6, [0.0] * 6 + ["x"]],
    "alpha_hidden_channels": [0, 10**6],
    "files": [[], {"../generator.safetensors": {"bytes": 1, "sha256": HASH}}, {"a.pt": {}}]
    + [{"/etc/passwd": {"bytes": 1, "sha256": HASH}}, {"generator.safetensors": 5}]
    + [{"generator.safetensors": {"bytes": size, "sha256": it}} for size, it in ((-1, HASH), (1, "zz"), (1, 0))],
    "generator": [None, {}],
    "generator.resolution": [48, 2048, 16, 32.0, 64],
    "generator.channels": [{}, [8, 6, 5, 4], *({"4": 8, "8": 6, "16": 5, "32": count} for count in (0, 10**9))],
    "generator.latent_dim": [10**9],
    "generator.style_dim": [0],
    "generator.mapping_layers": [1.5],
    "generator.object_switch": ["off", {}],
    "generator.conv_clamp": [-1],
    "discriminator": [5],
    "discriminator.resolution": [64],
    "discriminator.channels": [{"4": 1}],
}
WRONG = [(name, value) for name, values in WRONG_VALUES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{i}-{name}" for i, (name, _) in enumerate(WRONG)])
def test_fields_that_are_not_as_they_should_be(folder, name, value):
    def change(data):
        *path, last = name.split(".")
        for step in path:
            data = data[step]
        data[last] = value

    edit_config(folder, change)
    message = refusal(load_bundle, folder, with_discriminator=True)
    assert "is not valid" in message and "config.json" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": NaN}', b"[" * 100_000, b" " * (1 << 22) + b" {}"],
)
def test_a_config_that_is_no_json_object(folder, content):
    (folder / "config.json").write_bytes(content)
    refusal(load_bundle, folder)


WIDE = {"channels": {str(4 << step): 4096 for step in range(4)}}
LONG = {"style_dim": 8192, "latent_dim": 8192}


@pytest.mark.parametrize(("name", "fields"), [("generator", WIDE), ("discriminator", WIDE), ("generator", LONG)])
def test_tables_for_more_memory_than_there_are_weights_are_refused(folder, name, fields):
    edit_config(folder, lambda data: data[name].update(fields))
    edit_config(folder, lambda data: data.update(latent_avg=[0.0] * data["generator"]["style_dim"]))
    assert f"more weights than {name}.safetensors holds" in refusal(load_bundle, folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_any_changed_byte_of_the_config_is_told_or_harmless(saved, tmp_path, position, value):
    folder = tmp_path / "tiny"
    if not folder.exists():
        shutil.copytree(saved, folder)
    content = bytearray((saved / "config.json").read_bytes())
    content[position % len(content)] = value
    (folder / "config.json").write_bytes(content)
    try:
        load_bundle(folder)
    except UserError as error:
        assert str(error).isprintable()


# --- saving


def test_a_new_bundle_replaces_the_old_one_and_keeps_other_files(folder):
    (folder / "samples").mkdir()
    others = [folder / name for name in ("samples/grid.png", ".gitattributes", "my_codes.safetensors")]
    for path in others:
        path.write_bytes(b"mine")
    bundle = tiny_bundle(seed=1, without=["background"])
    save_bundle(bundle, folder)
    assert_equal_networks(load_bundle(folder, with_discriminator=True), bundle)
    assert not (folder / "background.safetensors").exists()
    assert {path.read_bytes() for path in others} == {b"mine"}
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_without_an_exchange_of_the_kernel_two_renames_do(folder, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    save_bundle(tiny_bundle(seed=1), folder)
    assert_equal_networks(load_bundle(folder, with_discriminator=True), tiny_bundle(seed=1))
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_failing_rename_puts_the_old_bundle_back(folder, monkeypatch):
    rename = os.rename

    def failing(source, target):
        if Path(target) == folder and str(source).endswith(".partial"):
            raise OSError(5, "broken")
        rename(source, target)

    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    monkeypatch.setattr(os, "rename", failing)
    refusal(save_bundle, tiny_bundle(seed=1), folder)
    assert_equal_networks(load_bundle(folder, with_discriminator=True), tiny_bundle())


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_the_kernel_exchanges_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system exchanges nothing")
    assert (tmp_path / "a/b").exists() and (tmp_path / "b/a").exists()


def test_foreign_folders_and_files_are_left_alone(tmp_path):
    photos, model = {"holiday.jpg": "x"}, {"config.json": '{"architectures": ["Other"]}', "model.safetensors": "x"}
    for number, contents in enumerate((photos, model)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_text(content)
        with pytest.raises(UserError, match="other files .*left alone"):
            save_bundle(tiny_bundle(), folder)
        assert {path.name: path.read_text() for path in folder.iterdir()} == contents
    for path in (tmp_path / "0/holiday.jpg", tmp_path / "0/holiday.jpg/bundle"):
        assert "is a file" in refusal(save_bundle, tiny_bundle(), path)


def test_values_that_are_not_finite_are_not_saved(folder):
    bundle = tiny_bundle(seed=1)
    bundle.alpha.output.bias.data.fill_(float("nan"))
    assert "alpha holds values in output.bias" in refusal(save_bundle, bundle, folder)
    assert_equal_networks(load_bundle(folder, with_discriminator=True), tiny_bundle())


def test_a_description_that_could_not_be_read_back_is_not_saved(tmp_path):
    assert "'truncation_psi' must be" in refusal(save_bundle, tiny_bundle(truncation_psi=3.0), tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_a_full_disk_leaves_the_old_bundle(folder):
    code = """
        from bundles import tiny_bundle
        from l4f_plugin.bundles.bundle import save_bundle
        bundle = tiny_bundle(seed=1)
        fill_the_disk(8000)
        save_bundle(bundle, Path(sys.argv[1]))
    """
    assert "disk is full" in on_a_full_disk(code, folder).err
    assert_equal_networks(load_bundle(folder, with_discriminator=True), tiny_bundle())
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_files_are_readable_like_any_other_and_say_nothing_but_tensors(folder):
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes
    with safe_open(folder / "generator.safetensors", "pt") as file:
        assert not file.metadata()
