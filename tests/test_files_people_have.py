"""Files as people have them: nothing of theirs is lost, and every folder of pictures is read in the same way."""

import io
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from pixels import encoded
from sentences import refusal
from shell import assert_refused, run
from test_photos import disc, photograph

from l4f_plugin import images, photo_batch, picture_archives, provenance
from l4f_plugin.animations import write_animation
from l4f_plugin.arguments import EdgeOptions, Spot
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.files import fitted, partial_name, write_atomically
from l4f_plugin.datasets import exporting
from l4f_plugin.datasets.export_backgrounds import BackgroundFolder
from l4f_plugin.evaluation.labelled import load_split
from l4f_plugin.evaluation.mask_metrics import compare_folders
from l4f_plugin.images import has_more_frames, timing_of
from l4f_plugin.jobs import CancelToken
from l4f_plugin.motion import motion_infotext
from l4f_plugin.picture_files import find_pictures
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.provenance import WPlus
from l4f_plugin.training import loop
from l4f_plugin.training.pictures import PictureFolder
from l4f_ui.operations import Operations
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings

LINKS = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
OURS = images.infotext("Labels4Free tiny", {"Class": "tiny", "Photo": "0" * 16, "Version": "Labels4Free 1"})


def save(path, size=(48, 32), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(*size)).save(path, **options)
    return path


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def segment(capsys, red, *words):
    said = run(capsys, "segment", red, *words, "--device", "cpu", "--json")
    return said.code, said.data, said.err


# Nothing of a user's is replaced


def test_a_folder_segmented_into_itself_keeps_its_files_and_is_done_once(capsys, red, tmp_path):
    photos = tmp_path / "photos"
    for name in ("cat.png", "dog.jpg"):
        save(photos / name)
    Image.new("L", (48, 32), 9).save(photos / "cat_alpha.png")
    kept = (photos / "cat_alpha.png").read_bytes()
    code, first, err = segment(capsys, red, photos, "--out", photos)
    assert code == 0 and len(first["photos"]) == 2 and "cat_alpha.png" in err and "cat-2" in err
    assert (photos / "cat_alpha.png").read_bytes() == kept
    made = names(photos)
    assert {"cat-2_alpha.png", "cat-2_cutout.png", "dog_alpha.png", "dog_cutout.png"} < set(made)
    for inputs in ([photos], sorted(photos.iterdir())):  # a folder, and what a shell makes of photos/*
        code, again, err = segment(capsys, red, *inputs, "--out", photos)
        assert code == 0 and [photo["kept"] for photo in again["photos"]] == [True, True]
        assert "results of this program (4)" in err
    assert names(photos) == made and (photos / "cat_alpha.png").read_bytes() == kept


@LINKS
def test_links_are_neither_followed_nor_replaced(capsys, red, tmp_path):
    photo, out, other = save(tmp_path / "cat.png"), tmp_path / "out", tmp_path / "diary.txt"
    out.mkdir()
    other.write_text("mine")
    (out / "cat_alpha.png").symlink_to(other)
    (out / "cat_cutout.png").symlink_to(tmp_path / "nothing")
    code, answer, _ = segment(capsys, red, photo, "--out", out)
    assert code == 0 and answer["photos"][0]["mask"].endswith("cat-2_alpha.png")
    assert other.read_text() == "mine" and not (tmp_path / "nothing").exists()
    assert (out / "cat_alpha.png").is_symlink() and (out / "cat_cutout.png").is_symlink()


def test_an_archive_of_a_users_own_stays(capsys, red, tmp_path):
    photo, out = save(tmp_path / "cat.png"), tmp_path / "out"
    out.mkdir()
    with zipfile.ZipFile(out / "segmented.zip", "w") as archive:
        archive.writestr("diary.txt", "mine")
    kept = (out / "segmented.zip").read_bytes()
    for _ in range(2):
        _, answer, err = segment(capsys, red, photo, "--out", out, "--zip")
        assert answer["zip"].endswith("segmented-2.zip") and "segmented.zip" in err
    assert (out / "segmented.zip").read_bytes() == kept and "segmented-3.zip" not in names(out)


def test_generated_pictures_take_a_free_name(capsys, tiny_bundle_folder, tmp_path):
    (tmp_path / "seed0003_cutout.png").write_bytes(b"mine")
    command = ["generate", tiny_bundle_folder, "--seeds 3 --device cpu --save-w-plus --out", tmp_path]
    assert run(capsys, *command)[0] == 0
    made = names(tmp_path)
    assert (tmp_path / "seed0003_cutout.png").read_bytes() == b"mine"
    assert "seed0003-2_cutout.png" in made and "seed0003-2_w_plus.safetensors" in made and "seed0003.png" not in made
    assert run(capsys, *command)[0] == 0 and names(tmp_path) == made


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
@pytest.mark.parametrize("command", ["swap --seed 1 --background #ff0000 --out", "motion --seeds 1,2 --frames 2 --out"])
def test_a_single_file_that_is_not_ours_is_refused_before_anything_is_computed(capsys, tmp_path, command, kind):
    out, other = tmp_path / "mine.png", tmp_path / "other.png"
    if kind != "dangling link":
        save(out if kind == "file" else other)
    if kind != "file":
        out.symlink_to(other)
    before, (command, *options) = out.read_bytes() if out.exists() else None, command.split()
    code, _, err = run(capsys, command, [tmp_path / "no such class", *options, out])
    assert code == 2 and str(out) in err and "left alone" in err and err.count("\n") == 1
    assert (out.read_bytes() if out.exists() else None) == before and out.is_symlink() == (kind != "file")


def test_a_single_file_of_ours_is_replaced(capsys, tiny_bundle_folder, tmp_path):
    out = tmp_path / "swapped.png"
    for colour in ("#ff0000", "#00ff00"):
        command = ["swap", tiny_bundle_folder, "--seed", 1, "--background", colour, "--out", out, "--device", "cpu"]
        assert run(capsys, *command)[0] == 0
    assert "#00ff00" in images.read_infotext(out)


def test_results_are_known_as_ours_and_what_only_looks_like_them_is_not(tmp_path):
    blank = np.zeros((4, 4), np.uint8)
    images.write_png(tmp_path / "a.png", blank, OURS)
    WPlus(np.zeros((2, 3), np.float32)).save(tmp_path / "a.safetensors")
    photo_batch.pack([photo_batch.PhotoResult(tmp_path / "a.png", {"mask": tmp_path / "a.png"})], tmp_path / "a.zip")
    frames = [Image.new("RGBA", (16, 16), (9 * number, 0, 0, 255)) for number in range(3)]
    for kind in ["webp", "apng"] + (["webm"] if shutil.which("ffmpeg") else []):
        write_animation(tmp_path / f"m.{kind}", frames, kind, 10, motion_infotext("tiny", [1, 2]))
    ours = set(tmp_path.iterdir())
    (tmp_path / "folder").mkdir()
    images.write_png(tmp_path / "host.png", blank, OURS + ", Postprocess upscale by: 2")
    images.write_png(tmp_path / "plain.png", blank)
    with zipfile.ZipFile(tmp_path / "backup.zip", "w") as archive:  # a user's own, of our pictures
        archive.write(tmp_path / "a.png")
    (tmp_path / "notes.md").write_text(OURS)
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:30])
    Image.open(tmp_path / "a.png").save(tmp_path / "edited.png")
    assert {path for path in tmp_path.iterdir() if provenance.is_ours(path)} == ours


def test_a_training_goes_on_with_no_metrics_of_others(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    assert "metrics.jsonl" in refusal(loop.resume, None, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"loss": 1}\n'


def test_the_page_keeps_what_is_in_its_output_folder(tiny_bundle_folder, tmp_path):
    outputs = Outputs(tmp_path / "out")
    sample = Labels4FreePipeline(load_bundle(tiny_bundle_folder), device="cpu").generate([5])[0]
    first = outputs.save_sample(sample, "tiny", "Tiny").files
    assert outputs.save_sample(sample, "tiny", "Tiny").files == first  # ours
    first["cutout"].write_bytes(b"mine")
    first["mask"].unlink()
    first["mask"].symlink_to(tmp_path / "nothing")
    second = outputs.save_sample(sample, "tiny", "Tiny").files
    assert first["cutout"].read_bytes() == b"mine" and not (tmp_path / "nothing").exists()
    assert len(set(first.values()) & set(second.values())) == 0
    preview = outputs.preview("写" * 80, {"picture": sample.picture}, OURS)["picture"]
    assert len(os.fsencode(outputs.keep(preview).name)) <= 255 and outputs.keep(preview) != outputs.keep(preview)
    outputs.forget_previews()


# Folders of pictures


@LINKS
def test_what_lies_beside_pictures_is_passed_over_and_links_are_followed_once(tmp_path):
    folder, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    hidden = ".dot.png ._a.png .ipynb_checkpoints/a.png .thumbnails/a.png"
    system = "@eaDir/a.png/SYNO.jpg __MACOSX/a.png Thumbnails/a.png"
    for path in f"a.png sub/d.jpg {hidden} {system}".split():
        save(folder / path)
    for name in "bc":
        save(elsewhere / f"{name}.png")
    links = {"linked": elsewhere, "linked again": elsewhere, "sub/round": folder, "gone.png": tmp_path / "nothing"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (elsewhere / "up").symlink_to(tmp_path)
    for name, other in (("there", "back"), ("back", "there")):
        (folder / name).symlink_to(other)
    os.mkfifo(folder / "pipe.png")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("no picture")
    images.write_png(folder / "sheet.png", photograph(32, 32), provenance.sheet_text("samples"))
    found = find_pictures(folder)
    assert {picture.stem for picture in found} == {"a", "b", "c", "d"}
    assert found.passed_over == {
        "hidden": 4,
        "thumbnails or system files": 4,
        "linked twice or in a circle": 3,
        ".txt": 1,
        "links to nothing or devices": 4,
        "results of this program": 1,
    }
    assert "4 pictures" in found.in_words() and ".txt (1)" in found.in_words()


def test_all_formats_are_read_wherever_one_is(capsys, red, tmp_path):
    many, own = tmp_path / "many", ("png", "gif", "bmp", "webp", "ppm", "tga", "avif", "ico", "pcx", "dib", "qoi")
    known = {ending: ending.upper() for ending in own} | dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "JPEG")
    Image.init()
    for ending, kind in (known | {"tif": "TIFF", "jp2": "JPEG2000"}).items():
        if kind in Image.SAVE and kind in Image.OPEN:  # as far as PIL does here
            save(many / f"x_{ending}.{ending}", (64, 64), format=kind)
    save(many / "without", (64, 64), format="JPEG")
    save(many / "night 22.5", (64, 64), format="PNG")
    expected = {path.name for path in many.iterdir()}
    (many / "words").write_text("no picture")
    assert {picture.name for picture in find_pictures(many)} == expected
    training = PictureFolder(many, 32, tmp_path / "cache")
    assert (len(training), training.unreadable) == (len(expected), 0)
    backgrounds = BackgroundFolder.of(many)
    assert {backgrounds.draw(np.random.default_rng(seed), (8, 8))[0] for seed in range(400)} == expected
    code, answer, err = segment(capsys, red, many, "--out", tmp_path / "out")
    assert code == 0 and {photo["name"] for photo in answer["photos"]} == expected and "without ending (1)" in err


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archives_are_read_as_folders_are(capsys, red, kind, tmp_path):
    folder, archive = tmp_path / "in", tmp_path / f"set.{kind}"
    for name in ("a.png", "sub/b.jpg", ".hidden.png", "__MACOSX/._a.png"):
        save(folder / name)
    (folder / "bad.jpg").write_bytes(b"no picture")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for path in sorted(folder.rglob("*")):
                target.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, f"w:{kind[4:]}") as target:
            target.add(folder, ".")
    training = PictureFolder(archive, 32, tmp_path / "cache")
    assert (len(training), training.unreadable) == (2, 1) and training.found.passed_over["hidden"] >= 1
    code, answer, err = segment(capsys, red, archive, "--out", tmp_path / "out")
    assert code == 2 and [bool(photo["problem"]) for photo in answer["photos"]] == [False, True, False]
    assert names(tmp_path / "out") == ["a_alpha.png", "a_cutout.png", "b_alpha.png", "b_cutout.png"]
    assert "bad.jpg" in err and names(tmp_path) == sorted(["cache", "in", "out", f"set.{kind}"])


PNG = encoded(photograph(48, 32))


def test_names_that_do_not_say_that_they_are_utf_8_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile.ZipInfo, "_encodeFilenameFlags", lambda info: (info.filename.encode(), 0))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("Blüse grün.png", "👕.png"):
            archive.writestr(name, PNG)
    monkeypatch.undo()
    assert [picture.name for picture in find_pictures(tmp_path / "a.zip")] == ["Blüse grün.png", "👕.png"]
    assert all(picture.source() == PNG for picture in find_pictures(tmp_path / "a.zip"))


def test_names_in_archives_lead_nowhere(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("/etc/a.png", "../b.png", "x/../../c.png", "C:/d.png", "good.png"):
            archive.writestr(name, PNG)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    found = find_pictures(tmp_path / "a.zip")
    assert [picture.name for picture in found] == ["good.png"]
    assert found.passed_over == {picture_archives.UNSAFE: 4, picture_archives.LINK: 1}
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        kinds = {"l.png": tarfile.SYMTYPE, "h.png": tarfile.LNKTYPE, "d.png": tarfile.CHRTYPE}
        for name in ("/etc/a.png", "../b.png", ".", *kinds, "good.png"):
            kind, entry = kinds.get(name, tarfile.REGTYPE), tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            entry.size = len(PNG) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(PNG))
    found = find_pictures(tmp_path / "a.tar")
    assert [(picture.name, picture.source()) for picture in found] == [("good.png", PNG)]
    assert found.passed_over == {picture_archives.UNSAFE: 3, picture_archives.LINK: 3}


def test_bombs_and_damaged_archives_are_refused_in_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.bmp", bytes(100 << 20))
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("a.bmp")
        entry.size = 200 << 20
        archive.addfile(entry, io.BytesIO(bytes(200 << 20)))
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "header.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("a.png", PNG)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    for name in ("bomb.zip", "bomb.tar.gz", "header.tar", "text.zip", "cut.zip"):
        told = refusal(find_pictures, tmp_path / name)
        assert name in told and ("100 times" if "bomb" in name else "damaged") in told


def test_a_heic_file_names_the_package_that_reads_it(tmp_path):
    if "HEIF" in Image.OPEN:
        pytest.skip("pillow-heif is installed")
    folder = tmp_path / "phone"
    save(folder / "a.png")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    assert "pillow-heif" in find_pictures(folder).in_words()
    assert "HEIC picture; install the package pillow-heif" in refusal(images.load_picture, folder / "IMG_1.HEIC")
    assert "pillow-heif" in refusal(find_pictures, _only(tmp_path / "phone only", folder / "IMG_1.HEIC"))


def _only(folder, file):
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_an_exported_set_is_no_folder_of_photographs(tmp_path):
    for name in ("train/images/1.png", "train/masks/1.png", "train/hard_masks/1.png", "sheet.png"):
        save(tmp_path / "set" / name)
    (tmp_path / "set" / ".labels4free").mkdir()
    save(tmp_path / "photo.png")
    assert [picture.name for picture in find_pictures(tmp_path)] == ["photo.png"]
    assert [picture.name for picture in find_pictures(tmp_path / "set")] == ["train/images/1.png"]


# One bad file


def save_masks(folder, count):
    folder.mkdir()
    for number in range(count):
        Image.fromarray((disc(32, 32) * 255).astype(np.uint8)).save(folder / f"{number}.png")


def test_labelled_sets_leave_out_what_cannot_be_read(tmp_path):
    pictures = tmp_path / "test" / "images"
    for number in range(3):
        save(pictures / f"{number}.jpg", (32, 32))
    save_masks(tmp_path / "test" / "masks", 3)
    for name in ("1.jpg", ".3.jpg"):
        (pictures / name).write_bytes(b"no picture")
    data = load_split(tmp_path, "test", 32)
    assert len(data) == 2 and data.masks.max() == 255 and len(data.left_out) == 1 and "1.jpg" in data.left_out[0]


def test_one_damaged_mask_ends_no_comparison(tmp_path):
    for folder in ("predicted", "truth"):
        save_masks(tmp_path / folder, 2)
    (tmp_path / "truth" / "1.png").write_bytes(b"no picture")
    found = compare_folders(tmp_path / "predicted", tmp_path / "truth")
    assert list(found.per_image) == ["0"] and list(found.left_out) == ["1"] and found.pooled.mean_iou == 1


def export(capsys, class_folder, pictures, out, *options):
    settings = "--count 24 --format folder --shard-size 4 --batch-size 4 --no-curation --backgrounds pictures"
    where = ["--device", "cpu", "--background-pictures", pictures, "--out", out]
    return run(capsys, "export", class_folder, settings, where, *options)


def test_unreadable_backgrounds_end_no_export_and_no_resumption(capsys, tiny_bundle_folder, tmp_path, monkeypatch):
    pictures, out, whole = tmp_path / "mine", tmp_path / "set", tmp_path / "whole"
    for number in range(3):
        save(pictures / f"g{number}.png", (40 + number, 40))
    for name in ("bad.png", "._g0.png"):
        (pictures / name).write_bytes(b"no picture")
    said = export(capsys, tiny_bundle_folder, pictures, whole, "--json")
    assert said.code == 0 and list(said.data["unreadable"]) == ["bad.png"] and "hidden (1)" in said.err
    card = (whole / "README.md").read_text()
    assert '1 background pictures could not be read and were passed over: "bad.png".' in card
    real, shards = exporting.shard_records.write_record, []

    def stopped(folder, record):
        real(folder, record)
        shards.append(record.shard)
        if len(shards) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(exporting.shard_records, "write_record", stopped)
        assert export(capsys, tiny_bundle_folder, pictures, out)[0] == 130
    (pictures / "bad.png").unlink()
    assert export(capsys, tiny_bundle_folder, pictures, out)[0] == 0
    assert (out / "labels.csv").read_bytes() == (whole / "labels.csv").read_bytes()
    assert (out / "SHA256SUMS").read_text().count("\n") == (whole / "SHA256SUMS").read_text().count("\n")
    save(pictures / "new.png")
    code, _, err = export(capsys, tiny_bundle_folder, pictures, out)
    assert code == 2 and "another pictures" in err
    (tmp_path / "others").mkdir()
    (tmp_path / "others/bad.png").write_bytes(b"no picture")
    code, _, err = export(capsys, tiny_bundle_folder, tmp_path / "others", tmp_path / "none")
    assert code == 2 and "None of the 1 background pictures could be read" in err
    save(tmp_path / "others/bad.png")
    assert export(capsys, tiny_bundle_folder, tmp_path / "others", tmp_path / "none")[0] == 0


@LINKS
def test_an_export_replaces_no_card_of_a_user_and_follows_no_link(capsys, tiny_bundle_folder, tmp_path):
    pictures, out, other = tmp_path / "mine", tmp_path / "set", tmp_path / "diary.md"
    save(pictures / "a.png")
    other.write_text("mine")
    assert export(capsys, tiny_bundle_folder, pictures, out)[0] == 0
    for name in ("README.md", "sheet.png"):
        (out / name).unlink()
        (out / name).symlink_to(other)
        (out / "SHA256SUMS").unlink(missing_ok=True)
        code, _, err = export(capsys, tiny_bundle_folder, pictures, out)
        assert code == 2 and name in err and other.read_text() == "mine"
        (out / name).unlink()
    (out / "README.md").write_text("my notes")
    code, _, err = export(capsys, tiny_bundle_folder, pictures, out)
    assert code == 2 and "README.md" in err and (out / "README.md").read_text() == "my notes"
    (out / "README.md").unlink()
    assert export(capsys, tiny_bundle_folder, pictures, out)[0] == 0


# Long names


@pytest.mark.parametrize("stem", ["写真" * 41, "z" * 251, "é" * 125])
def test_names_of_255_bytes_leave_room_for_our_endings(capsys, red, stem, tmp_path):
    photos, out = tmp_path / "in", tmp_path / "out"
    for name in ("01", stem, "99"):
        save(photos / f"{name}.jpg"[-255:])
    for kept in (False, True):
        code, answer, _ = segment(capsys, red, photos, "--out", out, "--background", "#ffffff")
        assert code == 0 and [photo["kept"] for photo in answer["photos"]] == [kept] * 3 and len(names(out)) == 9
    assert all(len(os.fsencode(name)) <= 255 for name in names(out))


def test_a_name_that_no_system_takes_is_told(capsys, red, tmp_path):
    long, photo = "y" * 300, save(tmp_path / "a.jpg")
    for place in (["generate", long, "--out", tmp_path], ["segment", red, f"{long}.jpg", "--out", tmp_path]):
        assert_refused(run(capsys, place), "too long")
    assert_refused(run(capsys, ["segment", red, photo, "--out", tmp_path / long]), "too long")


def test_shortened_names_stay_apart_and_whole():
    first, second = fitted("写" * 90 + "a", ".png"), fitted("写" * 90 + "b", ".png")
    assert first != second and first.endswith(".png") and len(os.fsencode(first)) <= 255
    assert first.encode().decode() == first and fitted("short", ".png") == "short.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pathconf", lambda *_: 143, raising=False)  # as in an encrypted home folder
        assert len(partial_name(Path("/tmp") / ("x" * 143)).name) <= 143


def test_leftovers_of_names_with_brackets_are_found(tmp_path):
    leftover = tmp_path / ".[a].png.0123456789ab.partial"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    write_atomically(tmp_path / "[a].png", lambda path: path.write_bytes(b"x") and None)
    assert names(tmp_path) == ["[a].png"]


# Animated and of several pages


def moving(path, kind, count=3):
    frames = [Image.fromarray(np.roll(photograph(48, 32), 3 * number, axis=1)) for number in range(count)]
    options = {"duration": [80, 120, 200][:count], "loop": 0} if kind != "TIFF" else {}
    options |= {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_becomes_an_animated_cut_out(capsys, red, kind, tmp_path):
    source = moving(tmp_path / f"m.{kind.lower()}", kind)
    code, answer, err = segment(capsys, red, source, "--out", tmp_path / "out", "--background", "#ffffff")
    assert code == 0 and not err
    for part, mode in (("cutout", "RGBA"), ("mask", "L"), ("composite", "RGB")):
        with Image.open(answer["photos"][0][part]) as made:
            made.load()
            assert made.mode == mode
            durations = [frame.copy() and frame.info["duration"] for frame in ImageSequence.Iterator(made)]
            assert durations == [80, 120, 200] and made.info["loop"] == 0
    assert segment(capsys, red, source, "--out", tmp_path / "out", "--background", "#ffffff")[1]["photos"][0]["kept"]


def test_a_picture_for_programs_without_animations_is_no_frame(capsys, red, tmp_path):
    still, *shown = [Image.fromarray(np.roll(photograph(48, 32), 3 * number, axis=1)) for number in range(4)]
    still.save(tmp_path / "m.png", save_all=True, append_images=shown, default_image=True, duration=[80, 120, 200])
    _, answer, _ = segment(capsys, red, tmp_path / "m.png", "--out", tmp_path / "out", "--background", "#ffffff")
    assert timing_of(answer["photos"][0]["composite"]).durations == (80, 120, 200)


def test_pages_and_endless_animations_use_the_first_and_say_so(capsys, red, tmp_path, monkeypatch):
    pages = moving(tmp_path / "pages.tif", "TIFF")
    _, answer, err = segment(capsys, red, pages, "--out", tmp_path / "out")
    assert "pages.tif has several frames or pages, of which only the first is used." in err
    assert answer["photos"][0]["notes"] and not has_more_frames(tmp_path / "out" / "pages_cutout.png")
    monkeypatch.setattr("l4f_plugin.images.MOST_FRAMES", 2)
    endless = moving(tmp_path / "endless.gif", "GIF")
    assert timing_of(endless) is None
    assert "only the first is used" in segment(capsys, red, endless, "--out", tmp_path / "out")[2]
    picture = save(tmp_path / "cat.png")
    assert "only the first is used" in segment(capsys, red, picture, "--background", pages, "--out", tmp_path / "b")[2]
    found = find_pictures(_only(tmp_path / "set", pages))
    assert found.first_frames() == 1


def test_programs_are_told_of_further_frames(red, tmp_path, monkeypatch):
    monkeypatch.setenv("LABELS4FREE_MODELS", str(red.parent))
    operations = Operations(Service(lambda: Settings(device="cpu")))
    moves, still = moving(tmp_path / "m.gif", "GIF").read_bytes(), save(tmp_path / "s.png").read_bytes()
    sentence = "The picture has several frames or pages, of which only the first is used."
    for content, told in ((moves, sentence), (still, None)):
        assert operations.segment("red", content, None, CancelToken()).details["note"] == told
        swapped = operations.swap("red", 1, content, EdgeOptions(), None, CancelToken(), Spot())
        assert swapped.details["note"] == told


# Grey of more than 8 bits


RANGES = {np.int32: (255, 4095, 65535, 1_000_000), np.uint16: (255, 4095, 65535), np.float32: (1, 255, 65535)}


@pytest.mark.parametrize(
    ("dtype", "highest", "form"),
    [(dtype, highest, "TIFF") for dtype in RANGES for highest in RANGES[dtype]] + [(np.uint16, 65535, "PNG")],
)
def test_grey_of_any_range_reaches_from_black_to_white(dtype, highest, form, tmp_path):
    values = np.linspace(0, highest, 256).round(6).reshape(16, 16).astype(dtype)
    Image.fromarray(values).save(tmp_path / "grey", form)
    loaded = images.load_picture(tmp_path / "grey")[..., 0]
    assert loaded.min() == 0 and loaded.max() == 255 and abs(float(loaded.mean()) - 127.5) < 2


def test_sixteen_bits_of_a_png_are_not_stretched(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "dark.png")
    assert images.load_picture(tmp_path / "dark.png").max() == 16
