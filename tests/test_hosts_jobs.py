"""Jobs of ours in the queue of a web UI, and the operation in its tab Extras. See `test_hosts`."""

import shutil

import gradio as gr
import numpy as np
import pytest
from alike import assert_alike
from bundles import red_finder, saved
from host_pages import answer, generate, host, newest, started  # noqa: F401, fixtures
from pages import in_thread, wait_until
from PIL import Image
from pixels import pixels
from sentences import refusal
from starlette.testclient import TestClient
from stub_host import VARIANTS

from l4f_plugin.arguments import Background, EdgeOptions, Spot
from l4f_plugin.errors import Cancelled
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.provenance import recipe_of
from l4f_plugin.runtime import OutOfMemory
from l4f_ui.hosts import queueing
from l4f_ui.hosts.host_service import service


def is_free(lock) -> bool:
    if not lock.acquire(blocking=False):
        return False
    lock.release()
    return True


def test_results_arrive_transparent_on_disk_and_say_how_they_were_drawn(host):  # noqa: F811
    generate(host, "11")
    path = newest(host, "seed0011_psi0.70_cutout")
    assert path.is_relative_to(host.folder / "outputs" / "labels4free")
    recipe = recipe_of(path)
    assert (recipe.class_name, recipe.seed, recipe.style.truncation_psi) == ("tiny", 11, 0.7)
    engine = service()
    drawn = np.asarray(engine.segment("tiny", recipe, engine.new_token()).cutout())
    assert pixels(path).shape == (32, 32, 4) and drawn[..., 3].min() < 250
    assert_alike(pixels(path), drawn)
    assert host.state.log == ["begin Labels4Free", "end Labels4Free"] * 2 and is_free(host.lock)


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_a_training_makes_way_while_the_host_works(host):  # noqa: F811
    engine = service()
    assert engine.device_use() == ""
    identifier = host.state.begin("txt2img")
    assert engine.device_use() == "works"
    host.state.end(*filter(None, [identifier]))
    assert engine.device_use() == ""


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_the_interrupt_of_the_host_stops_the_job(host):  # noqa: F811
    engine = service()
    batches = engine.generate("tiny", list(range(12)), 0.7, engine.new_token())
    assert next(batches) == [] and len(next(batches)) == 4
    host.state.interrupted = True
    with pytest.raises(Cancelled):
        next(batches)
    assert host.state.log[-1] == "end Labels4Free" and is_free(host.lock)
    assert "Stopped" not in str(generate(host)[-2:])  # what was interrupted before is none of the next job's business


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_the_interrupt_of_the_host_stops_what_a_program_asked_for(host, monkeypatch):  # noqa: F811
    vars(host.cmd_opts).update(api=True)
    host.serve()
    begin = host.state.begin

    def begun(*about):
        identifier = begin(*about)
        host.state.interrupted = True
        return identifier

    monkeypatch.setattr(host.state, "begin", begun)
    refused = TestClient(host.app).post("/l4f/v1/generate", json={"class": "tiny", "seeds": "0-3"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (499, "cancelled")
    assert host.state.log == ["begin Labels4Free", "end Labels4Free"] and is_free(host.lock)


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_a_job_that_waits_for_the_host_can_be_cancelled(host):  # noqa: F811
    engine, token, heard = service(), service().new_token(), []
    token.on_wait = heard.append
    host.state.interrupted = True  # the host's own job is: ours has not begun
    ended = []

    def draw():
        try:
            list(engine.generate("tiny", [1], 0.7, token))
        except Cancelled:
            ended.append("cancelled")

    host.lock.acquire()
    thread = in_thread(draw)
    wait_until(lambda: heard == [1])
    assert engine.is_busy() and not ended
    token.cancel()
    thread.join(20)
    assert ended == ["cancelled"] and not engine.is_busy()
    host.lock.release()
    wait_until(lambda: is_free(host.lock))
    assert host.state.log == []


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_jobs_wait_for_the_host_and_for_each_other_in_order(host):  # noqa: F811
    engine, order = service(), []

    def draw(seed):
        for batch in engine.generate("tiny", [seed], 0.7, engine.new_token()):
            order.extend(sample.seed for sample in batch)

    threads = []
    host.lock.acquire()
    for seed in range(4):
        threads.append(in_thread(draw, seed))
        wait_until(lambda seed=seed: len(queueing.DOOR) == seed + 1)
    host.lock.release()
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2, 3] and is_free(host.lock)


def test_too_little_memory_offers_to_make_room(host, monkeypatch):  # noqa: F811
    engine = service()
    engine.unload()

    def full(*values, **options):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(OutOfMemory):
        patch.setattr(Labels4FreePipeline, "from_pretrained", full)
        list(engine.generate("tiny", [1], 0.7, engine.new_token()))
    assert engine.ran_out and host.freed == []
    assert engine.device_use() == "needs memory"
    answer(host, "l4f_host_room")
    host.model_data.sd_model = "a model"
    for _ in range(2):  # once: not for every job from now on
        list(engine.generate("tiny", [1], 0.7, engine.new_token()))
    host.model_data.sd_model = None
    assert host.freed == {"A1111": ["unload", "back"], "SD.Next": ["unload"]}.get(host.variant, ["free"])
    assert not engine.ran_out
    engine.make_room()
    list(engine.generate("tiny", [1], 0.7, engine.new_token()))  # no model loaded: A1111 would load one


@pytest.mark.parametrize("started", [name for name in ("A1111", "Forge") if name in VARIANTS], indirect=True)
def test_a_damaged_file_stays_where_it_is(host):  # noqa: F811
    folder = host.folder / "models" / "labels4free" / "broken"
    shutil.copytree(folder.with_name("tiny"), folder)
    weights = folder / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    before = sorted(path.name for path in folder.iterdir())
    engine = service()
    refusal(list, engine.generate("broken", [1], 0.7, engine.new_token()))
    assert sorted(path.name for path in folder.iterdir()) == before
    shutil.rmtree(folder)


# ---- Extras


class Processed:
    """What an operation in Extras is handed."""

    def __init__(self, image: Image.Image):
        self.image, self.info, self.nametags = image, {}, []


def operation(host):  # noqa: F811
    [kind] = host.scripts
    return kind()


def test_extras_cut_out_our_pictures_while_the_host_holds_its_queue(host):  # noqa: F811
    generate(host, "5")
    picture = Image.open(newest(host, "seed0005_psi0.70"))
    script, engine = operation(host), service()
    with gr.Blocks() as blocks, gr.Accordion("ours") if host.variant == "SD.Next" else gr.Row():
        assert set(script.ui()) == {"enable", "class_name", "result"}
    assert host.component("l4f_extras", blocks)
    assert sum(isinstance(block, gr.Accordion) for block in blocks.blocks.values()) == 1  # and not one in another
    host.lock.acquire()  # the host does, around Extras, and one of ours waits for that already
    waiting = in_thread(lambda: list(engine.generate("tiny", [1], 0.7, engine.new_token())))
    wait_until(lambda: len(queueing.DOOR) == 1)
    host.state.log.clear()
    same, larger, off = Processed(picture), Processed(picture.convert("RGB")), Processed(picture)
    script.process(same, enable=True, class_name="tiny", result="cutout")
    script.process_firstpass(larger, enable=True)
    larger.image = larger.image.resize((64, 64))  # an upscaler came between
    larger.image.info.clear()
    script.process(larger, enable=True, class_name=None, result=None)
    script.process(off, enable=None, class_name=None, result=None)
    assert host.state.log == []  # it is the host's job
    host.lock.release()
    waiting.join(60)
    plain = host.variant in ("Forge", "reForge")  # which get the transparency as they save
    if not plain:
        assert_alike(same.image, pixels(newest(host, "psi0.70_cutout")))
    assert larger.image.size == (64, 64) and larger.image.mode == ("RGB" if plain else "RGBA") and off.image is picture
    saved_as = next(service().outputs.folder.rglob(same.info["Labels4Free"].removeprefix("saved as ")))
    assert recipe_of(saved_as).seed == 5
    shown = host.folder / "extras.png"
    host.save_image(same.image, str(shown), info="Labels4Free tiny")
    assert np.array_equal(pixels(saved_as), np.asarray(same.image)), "the host's gallery shows it transparent"
    if host.variant != "SD.Next":  # which keeps no transparency
        assert np.array_equal(pixels(shown), pixels(saved_as))


def test_what_extras_hands_over_survives_text_hidden_in_the_pixels(host):  # noqa: F811
    generate(host, "5")
    newest_picture = newest(host, "seed0005_psi0.70")
    for stealth in ("Alpha", "RGB", "None"):
        for wanted in ("cutout", "mask"):
            handed, path = Processed(Image.open(newest_picture)), host.folder / f"{stealth}_{wanted}.png"
            operation(host).process(handed, enable=True, class_name="tiny", result=wanted)
            host.save_image(handed.image, str(path), info="Labels4Free tiny", stealth=stealth)
            saved = pixels(path)
            if wanted == "mask":  # the text may be hidden in the last bit of grey
                grey = saved if saved.ndim == 2 else saved[..., 0]
                assert_alike(grey, pixels(newest(host, "psi0.70_alpha")), steps=2)
            elif host.variant == "SD.Next":  # which keeps no transparency
                assert saved.shape == (32, 32, 3)
            else:
                assert_alike(saved, pixels(newest(host, "psi0.70_cutout")))


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_extras_say_why_a_photograph_has_no_mask(host, monkeypatch):  # noqa: F811
    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    photograph = Image.new("RGB", (40, 30))
    handed = Processed(photograph)
    operation(host).process(handed, enable=True, class_name="tiny", result="cutout")
    assert handed.image is photograph and told == [handed.info["Labels4Free"]] and "no photo segmenter" in told[0]


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_extras_segment_a_photograph_where_the_class_can(host):  # noqa: F811
    saved(host.folder / "models/labels4free/red", title="Red things", student=red_finder())
    picture = np.full((30, 40, 3), (20, 80, 200), np.uint8)
    picture[8:22, 10:30] = (230, 30, 40)
    handed = Processed(Image.fromarray(picture))
    operation(host).process(handed, enable=True, class_name="red", result="cutout")
    alpha = np.asarray(handed.image)[..., 3]
    assert handed.image.mode == "RGBA" and alpha[15, 20] > 200 and alpha[2, 2] < 50
    saved_as = next(service().outputs.folder.rglob(handed.info["Labels4Free"].removeprefix("saved as ")))
    assert np.array_equal(pixels(saved_as), np.asarray(handed.image))


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_extras_find_a_subject_where_it_was_placed(host):  # noqa: F811
    engine, where = service(), Spot(0.25, 1.0, 0.5)
    sample = engine.sample("tiny", 5, 0.7, engine.new_token())
    behind = Background.parse(Image.new("RGB", (120, 60), "green"))
    placed = engine.swap("tiny", sample, behind, EdgeOptions(), engine.new_token(), where=where)
    handed = Processed(placed.composite)
    handed.image.info["parameters"] = placed.infotext
    operation(host).process(handed, enable=True, class_name="tiny", result="mask")
    assert_alike(np.asarray(handed.image.convert("L")), np.asarray(placed.alpha))
