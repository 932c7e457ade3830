"""Results of ours in the other tabs of a web UI, and theirs in ours. See `test_hosts`."""

from pathlib import Path

import gradio as gr
import pytest
from host_pages import answer, host, started  # noqa: F401, fixtures
from PIL import Image

from l4f_ui.hosts.components import COMPONENTS, SIZE
from l4f_ui.hosts.host_service import service
from l4f_ui.outputs import Result


def saved(host, mode="RGBA", infotext=None) -> dict[str, Path]:  # noqa: F811
    """Files as a panel hands them out: half of the picture transparent."""
    alpha = Image.new("L", (8, 8), 0)
    alpha.paste(255, (0, 0, 4, 8))
    picture = Image.new("RGB", (8, 8), (10, 200, 30))
    cutout = picture.convert("RGBA")
    cutout.putalpha(alpha)
    parts = {"picture": cutout if mode == "RGBA" else picture, "mask": alpha, "cutout": cutout}
    return service().outputs.preview("result", parts, infotext or "")


def result(files: dict[str, Path]) -> list[Result]:
    return [Result(files, "Tiny", "tiny", 3, 0.7)]


def test_results_go_to_img2img_flat_and_to_extras_as_they_are(host):  # noqa: F811
    files = saved(host, infotext="Labels4Free picture")
    flat = answer(host, "l4f_generate_to_img2img", result(files), None, "cutout")
    assert flat.mode == "RGB" and flat.size == (512, 512), "as small as Stable Diffusion can use"
    assert flat.getpixel((0, 0)) == (10, 200, 30) and flat.getpixel((511, 511)) == (255, 255, 255)
    whole = answer(host, "l4f_generate_to_extras", result(files), None, "picture")
    assert whole.mode == "RGBA" and whole.getpixel((7, 7)) == (10, 200, 30, 0)
    assert whole.info["parameters"] == "Labels4Free picture"
    assert answer(host, "l4f_generate_to_extras", result(files), None, "mask").mode == "L", "what the page shows"
    tabs = [(binding.tabname, binding.source_image_component.elem_id) for binding in host.copy_paste.bindings]
    assert tabs == [(tab, f"l4f_{tab}_carrier") for tab in ("img2img", "extras")], "one for all panels: pages are heavy"
    assert all(host.component(f"l4f_{panel}_to_extras") for panel in ("explore", "swap", "photos"))


def test_inpaint_gets_the_mask_of_the_background(host):  # noqa: F811
    picture, mask, *rest = answer(host, "l4f_generate_to_inpaint", result(saved(host)), None, "picture")
    assert rest == [0, 512, 512], "a blurred mask would reach into the subject; width and height follow the picture"
    assert [part.label for part in COMPONENTS.named(SIZE)] == ["width", "height"], "the first of two with one id"
    assert picture.size == mask.size == (512, 512) and picture.mode == "RGB"
    assert mask.getpixel((0, 0)) == (0, 0, 0) and mask.getpixel((511, 511)) == (255, 255, 255)
    files = saved(host)
    del files["mask"]
    with pytest.raises(gr.Error, match="has no mask"):
        answer(host, "l4f_generate_to_inpaint", result(files), None, "picture")
    with pytest.raises(gr.Error, match="nothing to send"):
        answer(host, "l4f_generate_to_img2img", [], None, "picture")


@pytest.mark.parametrize("source", ["txt2img", "img2img", "extras", "pnginfo"])
def test_other_tabs_send_here(host, source):  # noqa: F811
    files = saved(host, infotext="a cat\nSteps: 20")
    picture = Image.open(files["picture"])
    words = {"SD.Next": "➠ Labels4Free"}.get(host.variant, "🏷️") if source != "pnginfo" else "Send to Labels4Free"
    assert host.component(f"{source}_send_to_labels4free").value == words
    served = host.folder / "served" / "picture.png"
    served.parent.mkdir(exist_ok=True)
    picture.save(served)
    on_disk = {"name": str(served), "data": None, "is_file": True}
    ways = [picture] if source == "pnginfo" else [[(picture, None)], [on_disk], [[on_disk, None]]]
    for value in ways:
        update = answer(host, f"{source}_send_to_labels4free", value)
        assert update["l4f_inbox"]["visible"] and not update["l4f_host_restore"]["visible"]
        assert Image.open(update["l4f_inbox_picture"]).getpixel((7, 7)) == (10, 200, 30, 0)
    for nothing in (None, [], [{"name": str(files["picture"]), "data": None, "is_file": True}]):
        with pytest.raises(gr.Error, match="no picture to send"):
            answer(host, f"{source}_send_to_labels4free", nothing)


def test_what_arrives_goes_behind_a_subject_or_is_segmented(host):  # noqa: F811
    path = str(saved(host)["picture"])
    update = answer(host, "l4f_host_use_as_background", path)
    assert update["l4f_swap_kind"] == "picture" and update["l4f_swap_picture"] == path
    update = answer(host, "l4f_host_segment", path)
    assert update["l4f_photos_files"]["value"] == [path] and update["l4f_photos_codes"]["value"] is None


@pytest.mark.parametrize("background", [None, "seed:9"])
def test_a_picture_of_ours_restores_the_panel_that_made_it(host, background):  # noqa: F811
    behind = f", Background: {background}" if background else ""
    infotext = f"Class: tiny, Seed: 21, Truncation psi: 0.35{behind}, Version: Labels4Free 0.1"
    path = str(saved(host, infotext=infotext)["picture"])
    update = answer(host, "pnginfo_send_to_labels4free", Image.open(path))
    offered = [update[f"l4f_host_{name}"]["visible"] for name in ("restore", "restore_swap")]
    assert offered == ([False, True] if background else [True, False])
    panel, button = ("swap", "restore_swap") if background else ("generate", "restore")
    update = answer(host, f"l4f_host_{button}", path)
    assert update[f"l4f_{panel}_psi"] == 0.35
    if background:
        assert update["l4f_swap_kind"] == "seed" and update["l4f_swap_background_seed"]["value"] == "9"
