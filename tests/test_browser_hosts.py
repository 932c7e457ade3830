"""Our tab in a web UI, clicked in Chromium: what stands in it by itself, and what it sends to the other tabs; and our
scripts on pages that are laid out as theirs."""

from pathlib import Path

import pytest
from host_pages import host, started  # noqa: F401, fixtures
from serving import unused_port
from stub_host import VARIANTS
from test_browser import PATIENCE, browser, open_tab, wait_for_pictures  # noqa: F401, fixture

from l4f_ui import compat, server
from l4f_ui.hosts.host_service import service
from l4f_ui.hosts.page_scripts import press, reveal, when_seen

IN_ONE = pytest.mark.parametrize("started", VARIANTS[:1], indirect=True)
IN_GRADIO_3 = pytest.mark.clicked_path if compat.MAJOR < 4 else pytest.mark.skip("later Gradios build what is seen")
SCRIPT = (Path(__file__).resolve().parent.parent / "javascript/labels4free.js").read_text(encoding="utf-8")
COMPONENTS = """
<div id="hidden" style="display: none">
  <button id="txt2img_send_to_labels4free" onclick="window.sent = 'txt2img'">&#x27a0; Labels4Free</button>
  <button id="gallery_send_to_labels4free">&#x27a0; Labels4Free</button>
  <div id="tab_process"><div id="l4f_extras"><button class="label-wrap"><span>Labels4Free cut-out</span></button>
    <div><div class="gap"><input id="switch" type="checkbox"></div></div></div></div>
</div>"""
APP = """
<div id="sdnext_app">
  <div id="bar"><button class="sd-button"><div class="portal"><i id="save_txt2img"></i></div></button></div>
  <div id="layout-extras"><h2>Upscale</h2><div class="portal" id="upscale"></div></div>
</div>"""
MODERN = "window.waitForUiReady = () => new Promise((done) => setTimeout(done, 50));"


@pytest.fixture
def page(browser, host):  # noqa: F811
    """The host's page, with our script in it: before Gradio's own, as web UIs have it."""
    folders = service().outputs.served_folders
    how = {"host": "127.0.0.1", "port": unused_port(), "share": False, "inbrowser": False, "allowed_paths": folders}
    address, _ = server.open_page(host.demo, css="", **how)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(f"addEventListener('readystatechange', () => {{ {SCRIPT} }}, {{ capture: true, once: true }})")
    page.goto(address)
    page.locator("#tabs").wait_for()
    yield page
    page.close()
    compat.close(host.demo)


@IN_ONE
@pytest.mark.clicked_path
def test_a_picture_is_sent_to_img2img_and_extras(page):
    for tab in ("img2img", "extras", "Labels4Free"):  # Gradio 5 loses what comes while it builds the host's tab
        open_tab(page, tab, "tabs")
    page.locator("#l4f_generate_seeds input").fill("0-1")
    page.locator("#l4f_generate_run").click()
    wait_for_pictures(page, 2)
    assert not page.locator("#l4f_opened").is_visible()
    for tab in ("img2img", "extras"):
        page.locator(f"#l4f_generate_to_{tab}").click()
        open_tab(page, tab, "tabs")
        page.locator(f"#{tab}_image img").wait_for()
        open_tab(page, "Labels4Free", "tabs")


@IN_ONE
@IN_GRADIO_3
def test_gradio_3_builds_our_tabs_when_they_are_first_seen(page):
    built = ["#l4f_generate_seeds", "#l4f_swap_seed", "#l4f_train_folder", "#l4f_api_swap_seed"]
    assert [page.locator(part).count() for part in built] == [0, 0, 0, 0]
    open_tab(page, "Labels4Free", "tabs")
    page.locator("#l4f_generate_seeds").wait_for()
    assert [page.locator(part).count() for part in built] == [1, 0, 0, 0]
    open_tab(page, "Train")
    page.locator("#l4f_train_folder").wait_for()
    assert [page.locator(part).count() for part in built] == [1, 0, 1, 0]
    open_tab(page, "Generate")
    page.locator("#l4f_generate_run").click()
    page.locator("#l4f_generate_gallery img").first.wait_for()
    page.locator("#l4f_generate_to_swap").click()
    page.locator("#l4f_swap_image img").wait_for()
    assert page.locator("#l4f_swap_seed input").input_value().isdigit()


# Scripts alone: `javascript/labels4free.js`, and the opening of tabs


@pytest.fixture
def blank(browser):  # noqa: F811
    """A page without Gradio. Every error of its scripts fails."""
    opened = browser.new_page()
    opened.complaints = []
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    opened.close()
    assert not opened.complaints


def show(page, body: str, prepared: str) -> None:
    page.set_content(f"<body>{body}<script>{prepared}</script><script>{SCRIPT}</script></body>")
    page.evaluate("window.loaded?.()")


def test_what_the_templates_do_not_name_is_brought_into_the_app(blank):
    show(blank, COMPONENTS + APP, "window.onUiLoaded = (answer) => { window.loaded = answer; };" + MODERN)
    button = blank.locator("#bar #txt2img_send_to_labels4free")
    button.wait_for()
    assert button.get_attribute("title") == "➠ Labels4Free" and button.inner_text() == "L4"
    button.click()
    assert blank.evaluate("window.sent") == "txt2img", "what listens to it goes on listening"
    assert blank.locator("#hidden #gallery_send_to_labels4free").count() == 1, "there is no bar for it"
    assert blank.locator("#layout-extras h2").all_inner_texts() == ["Upscale", "Labels4Free cut-out"]
    assert blank.locator("#layout-extras .portal #switch").is_visible()
    blank.evaluate("window.loaded()")
    blank.wait_for_timeout(200)
    for part in ("#bar button", "#layout-extras h2"):
        assert blank.locator(part).count() == 2, "and only once"


@pytest.mark.parametrize(
    "prepared",
    [
        "",
        "window.onUiLoaded = (answer) => { window.loaded = answer; };",
        "window.onUiLoaded = (answer) => { window.loaded = answer; };" + MODERN,
    ],
    ids=["no host", "host", "no app"],
)
def test_elsewhere_nothing_is_touched(blank, prepared):
    show(blank, COMPONENTS, prepared)
    blank.wait_for_timeout(200)
    assert blank.locator("#hidden #txt2img_send_to_labels4free").inner_html().endswith("Labels4Free")
    assert blank.locator("#hidden #l4f_extras #switch").count() == 1


TABS = """
<div id="mode_img2img"><div class="tab-nav"></div>
  <div class="tabitem" id="img2img_img2img_tab"></div><div class="tabitem" id="img2img_inpaint_upload_tab"></div></div>
<script>
  let open = 0;
  const draw = () => {  // as Gradio: the button of the open tab has no listener, and what is pressed shows a bit later
    const bar = document.querySelector(".tab-nav");
    bar.replaceChildren(...[0, 1].map((index) => {
      const button = document.createElement("button");
      if (index !== open) button.onclick = () => { open = index; Promise.resolve().then(draw); };
      return button;
    }));
  };
  draw();
  window.switch_to_img2img = () => document.querySelectorAll(".tab-nav button")[0].click();
</script>"""


def test_a_tab_opens_also_where_it_was_open_before(blank):
    blank.set_content(f"<body>{TABS}</body>")
    script = reveal(("mode_img2img", "img2img_inpaint_upload_tab"), first="switch_to_img2img", main="img2img")
    for _ in range(3):
        blank.evaluate(script)
        assert blank.evaluate("open") == 1


def test_what_was_sent_comes_into_view(blank):
    blank.set_content(f"<body>{TABS}<p id=strip>Here</p><p style='height: 4000px'></p></body>")
    blank.evaluate("scrollTo(0, 3000)")
    blank.evaluate(reveal(("tabs", "tab_l4f"), seen="strip"))
    blank.wait_for_function("document.querySelector('#strip').getBoundingClientRect().top >= 0")


def test_a_button_is_pressed_when_its_place_is_first_seen_even_if_that_is_built_later(blank):
    blank.set_content("<button id='b' onclick='window.pressed = (window.pressed ?? 0) + 1'></button>")
    blank.evaluate(when_seen("place", "b"))
    blank.wait_for_timeout(400)
    assert blank.evaluate("window.pressed") is None
    blank.evaluate("document.body.insertAdjacentHTML('beforeend', '<p id=place hidden>Here</p>')")
    blank.wait_for_timeout(400)
    assert blank.evaluate("window.pressed") is None, "it is there, and hidden"
    blank.evaluate("document.querySelector('#place').hidden = false")
    blank.wait_for_function("window.pressed === 1")
    blank.evaluate("document.querySelector('#place').hidden = true")
    blank.evaluate("document.querySelector('#place').hidden = false")
    blank.wait_for_timeout(200)
    assert blank.evaluate("window.pressed") == 1


def test_a_host_with_buttons_of_its_own_for_its_tabs_shows_where_a_result_went(blank):
    blank.set_content(
        "".join(
            f"""<button id="{tab}" class="xtabs-tab" tabItemId="#split-app, #{tab}_tabitem"
            onclick="document.title += ' {tab}'">{tab}</button>"""
            for tab in ("extras", "img2img", "tab_l4f")
        )
        + """<button id="paste" onclick="document.title += ' pasted'">paste</button>"""
    )
    blank.evaluate(press("paste", main="extras"))
    blank.evaluate(reveal(("mode_img2img", "upload"), main="img2img"))
    blank.evaluate(reveal(("tabs", "tab_l4f")))
    assert blank.title().split() == ["pasted", "extras", "img2img", "tab_l4f"]
    blank.set_content("""<button id="paste" onclick="document.title += ' pasted'">paste</button>""")
    blank.evaluate(press("paste", main="extras"))  # and nothing else where there are none
