"""`l4f` as people type it: files, answers, sentences and exit codes."""

import argparse
import json
import os
import signal
import sys

import numpy as np
import pytest
from alike import assert_alike
from PIL import Image
from shell import assert_refused, ended, run, start

from l4f_plugin import __version__, cli
from l4f_plugin.images import parse_infotext, read_infotext
from l4f_plugin.pipeline import Labels4FreePipeline

# Prints which of the slow packages the command line has imported.
SLOW_IMPORTS = """
import sys
from l4f_plugin import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
print(sorted({"torch", "numpy", "gradio", "huggingface_hub"} & set(sys.modules)))
"""


def options_of(parser: argparse.ArgumentParser):
    """Every option of a command and of the kinds of it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for kind in action.choices.values():
                yield from options_of(kind)
        else:
            yield action


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"app"}))
def test_every_option_is_explained(name):
    parser = argparse.ArgumentParser()
    cli.declare(parser, cli.COMMANDS[name][0], name)
    assert [action.dest for action in options_of(parser) if not action.help] == []


# generate


def test_generate_writes_four_files_a_seed(capsys, tiny_bundle_folder, tmp_path):
    out = tmp_path / "new" / "folder"
    options = "--seeds 0-2,12345 --device cpu --batch-size 3 --truncation-psi 0.5 --out"
    code, said, _ = run(capsys, "generate", tiny_bundle_folder, options, out)
    assert code == 0

    assert said.count("\n") == 4 and f"seed 12345: {out / 'seed12345.png'}" in said
    [sample] = Labels4FreePipeline.from_pretrained(tiny_bundle_folder, device="cpu").generate([12345], 0.5)
    expected = {"": sample.picture(), "_alpha": sample.mask(), "_cutout": sample.cutout()}
    expected["_background"] = Image.fromarray(sample.background)
    names = [f"seed{seed}{ending}.png" for seed in ("0000", "0001", "0002", "12345") for ending in expected]
    assert sorted(os.listdir(out)) == sorted(names)
    stored = {ending: Image.open(out / f"seed12345{ending}.png") for ending in expected}
    for ending, picture in stored.items():
        assert picture.mode == expected[ending].mode and picture.size == (32, 32)
        assert_alike(picture, expected[ending])
    assert np.array_equal(np.asarray(stored["_cutout"])[..., 3], np.asarray(stored["_alpha"]))
    fields = parse_infotext(read_infotext(out / "seed12345_cutout.png"))
    assert fields["Class"] == "tiny" and fields["Seed"] == "12345" and fields["Truncation psi"] == "0.5"
    assert fields["Version"] == f"Labels4Free {__version__}"


def test_segment_finds_the_subject_by_seed_codes_or_picture(capsys, tiny_bundle_folder, tmp_path):
    drawn, again = tmp_path / "drawn", tmp_path / "again"
    options = "--seeds 12 --truncation-psi 0.8 --device cpu --save-w-plus --no-background --json --out"
    said = run(capsys, "generate", tiny_bundle_folder, options, drawn)
    assert said.code == 0 and said.data["samples"][0]["w_plus"] == str(drawn / "seed0012_w_plus.safetensors")
    sources = [
        (("--seed", 12, "--truncation-psi", 0.8), "seed0012", 12),
        (("--w-plus", drawn / "seed0012_w_plus.safetensors"), "seed0012_w_plus", None),
        (("--picture", drawn / "seed0012_alpha.png"), "seed0012", 12),
    ]
    for source, stem, seed in sources:
        said = run(capsys, "segment", tiny_bundle_folder, *source, "--out", again, "--json --device cpu")
        answer = said.data
        assert said.code == 0 and answer["seed"] == seed and 0 < answer["mask_area"] < 1
        for ending in ("", "_alpha"):
            assert_alike(Image.open(again / f"{stem}{ending}.png"), Image.open(drawn / f"seed0012{ending}.png"))
        assert Image.open(answer["cutout"]).mode == "RGBA"


def test_segment_says_what_it_cannot_do(capsys, tiny_bundle_folder, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    photograph = run(capsys, "segment", tiny_bundle_folder, "--picture", tmp_path / "photo.jpg", "--out", tmp_path)
    assert_refused(photograph, "no photo segmenter yet")
    assert_refused(run(capsys, "segment", "avatar", "--out", tmp_path), "name photographs")
    assert_refused(run(capsys, "segment", "avatar", "--seed", "-2", "--out", tmp_path), "A seed must be")


def test_generate_answers_programs(capsys, tiny_bundle_folder, tmp_path):
    options = "--seeds 5,5,-1 --json --device cpu --no-background --out"
    said = run(capsys, "generate", tiny_bundle_folder, options, tmp_path)
    answer = said.data
    assert said.code == 0 and said.err == ""
    assert (answer["class"], answer["device"], answer["dtype"]) == ("tiny", "cpu", "float32")
    assert len(answer["samples"]) == 2 and answer["samples"][0]["seed"] == 5
    for sample in answer["samples"]:
        assert sample["picture"] == str(tmp_path / f"seed{sample['seed']:04d}.png")
        assert os.path.isfile(sample["cutout"]) and "background" not in sample
        assert 0 <= sample["mask_area"] <= 1 and sample["truncation_psi"] == 0.6
    assert len(os.listdir(tmp_path)) == 6


def test_generate_refuses_paths_and_classes_that_cannot_be(capsys, tiny_bundle_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocker = tmp_path / "file"
    blocker.write_text("kept")
    for out in (blocker, blocker / "below"):
        assert_refused(run(capsys, "generate", tiny_bundle_folder, "--out", out), str(blocker))
    assert blocker.read_text() == "kept"
    assert_refused(run(capsys, "generate", "./nothing", "--out", tmp_path), "./nothing")
    assert_refused(run(capsys, "generate", tmp_path, "--out", tmp_path), "config.json")
    assert_refused(run(capsys, "generate"), "required: CLASS, --out")


# swap


@pytest.mark.parametrize(
    ("background", "mode"),
    [("seed:7", "RGB"), ("#3366ff", "RGB"), ("blur:2", "RGB"), ("transparent", "RGBA"), ("picture", "RGB")],
)
def test_swap_writes_one_picture(capsys, tiny_bundle_folder, tmp_path, background, mode):
    if background == "picture":
        background = tmp_path / "scenery.jpg"
        Image.new("RGB", (40, 30), "green").save(background)
    out = tmp_path / "deep" / "swapped.png"
    options = ["--background", background, "--out", out, "--device", "cpu", "--grow", "-1", "--feather", "1.5"]
    code, said, _ = run(capsys, "swap", tiny_bundle_folder, "--seed 3", options)
    assert code == 0 and said.startswith("seed 3 before ") and str(out) in said
    assert Image.open(out).mode == mode
    fields = parse_infotext(read_infotext(out))
    assert fields["Seed"] == "3" and fields["Grow"] == "-1" and fields["Feather"] == "1.5"
    assert str(tmp_path) not in read_infotext(out), "folders of the user are nobody's business"


def test_swap_is_soft_or_takes_a_threshold(capsys, tiny_bundle_folder, tmp_path):
    out = tmp_path / "hard.png"
    common = f"swap {tiny_bundle_folder} --seed 3 --background transparent --out {out} --device cpu --json"
    for options, expected in (([], None), (["--threshold"], 0.4), (["--threshold", "0.7"], 0.7)):
        said = run(capsys, common, *options)
        assert said.code == 0 and said.data["threshold"] == expected and said.data["seed"] == 3
        levels = set(np.unique(np.asarray(Image.open(out))[..., 3]))
        assert (levels <= {0, 255}) == (expected is not None)


# The frame


REFUSED_OF = {  # what each would do; of an option that is given twice, the last counts
    "generate": "--out pictures",
    "swap": "--background transparent --out out.png",
    "motion": "--seeds 1,2 --out a.webp",
    "export": "--count 9 --format folder --no-curation --device cpu --out set",
    "train generator": "--out run",
}


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("generate", "--seeds -2", "not a seed"),
        ("generate", "--truncation-psi 3", "from -2 to 2"),
        ("generate", "--truncation-psi x", "invalid float"),
        ("generate", "--batch-size 0", "batch size"),
        ("generate", "--device tpu", "not a device"),
        ("generate", "--dtype float16 --device cpu", "cannot be used on cpu"),
        ("generate", "--truncation-cutoff 99", "from 0 to 8"),
        ("generate", "--unknown", "unrecognized"),
        ("swap", "--background nothing.png", "not known"),
        ("swap", "--seed -5", "A seed"),
        ("swap", "--threshold 2", "threshold"),
        ("swap", "--out picture.jpg", ".png"),
        ("motion", "--seeds 1", "number of subjects"),
        ("motion", "--frames 1", "number of frames"),
        ("motion", "--frames 9999", "number of frames"),
        ("motion", "--seeds 1-9 --frames 5", "too few"),
        ("motion", "--fps 0", "frames a second"),
        ("motion", "--format apng", "ending: .png or .apng"),
        ("motion", "--out moving.gif", "ending: .webp or"),
        ("export", "--count many", "invalid int"),
        ("export", "--size 64", "from 16 to 32, not 64"),
        ("export", "--split half", "no split"),
        ("export", "--backgrounds pictures", "--background-pictures"),
        ("export", "--background-pictures nowhere", "cannot be read"),
        ("export", "--min-area 0.9 --max-area 0.5", "largest area"),
        ("train generator", "--resolution 48", "invalid choice: 48"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    capsys, tiny_bundle_folder, tmp_path, monkeypatch, command, options, sentence
):
    monkeypatch.chdir(tmp_path)
    assert_refused(run(capsys, command, tiny_bundle_folder, REFUSED_OF[command], options), sentence)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_help_imports_nothing_slow():
    for line in ("generate --help", "swap --help", "train --help", "--help", "--version", "?", "generate", "classes"):
        argv = line.split()
        imported = json.loads(ended(start(SLOW_IMPORTS, *argv)).out.strip().splitlines()[-1].replace("'", '"'))
        assert set(imported) <= ({"numpy"} if argv[0] in cli.COMMANDS else set()), argv


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0 and "exit codes" in out
    for name in ("generate", "swap", "classes", "convert", "train", "evaluate", "app"):
        assert name in out
        if name != "app":
            assert run(capsys, name, "--help")[0] == 0
    assert run(capsys, "--version")[1].strip() == f"Labels4Free {__version__}"


def test_no_and_unknown_commands_are_refused(capsys):
    assert_refused(run(capsys, "draw"), "draw")
    said = run(capsys)
    assert said.code == 0 and "export" in said.out, "what there is"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_while_drawing(tiny_bundle_folder, tmp_path):
    process = start("-u", "-m", *f"l4f_plugin generate {tiny_bundle_folder} --seeds 0-9999 --out {tmp_path}".split())
    assert process.stdout.readline().startswith("seed 0: ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip().endswith("l4f: stopped")
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".png")] == []
    for name in os.listdir(tmp_path):
        Image.open(tmp_path / name).load()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_reader_that_leaves_early_is_no_failure(tiny_bundle_folder, tmp_path):
    process = start("-u", "-m", *f"l4f_plugin generate {tiny_bundle_folder} --seeds 0-50 --out {tmp_path}".split())
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_the_page_gets_the_rest_of_the_line(monkeypatch, tmp_path, capsys):
    page = tmp_path / "l4f_ui"
    page.mkdir()
    (page / "__init__.py").write_text("")
    (page / "__main__.py").write_text("import sys\nprint(__name__, sys.argv)\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "l4f_ui"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "editable" not in repr(f).lower()])
    code, out, _ = run(capsys, "app", "--port", "7999", "--no-browser")
    assert code == 3
    assert out.strip() == "__main__ ['l4f app', '--port', '7999', '--no-browser']"


def test_a_missing_gradio_is_said_with_the_remedy(monkeypatch, capsys):
    def missing(name, run_name):
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(cli.runpy, "run_module", missing)
    assert_refused(run(capsys, "app"), "install.py run")
