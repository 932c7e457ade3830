"""What runs in the pages of web UIs, in Chromium: `javascript/labels4free.js` on a page that is laid out as SD.Next's
Modern UI and on one that is not, and the opening of tabs."""

from pathlib import Path

import pytest
from test_browser import browser  # noqa: F401, fixture

from l4f_ui.hosts.page_scripts import reveal, when_seen

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
def page(browser):  # noqa: F811
    opened = browser.new_page()
    opened.complaints = []
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    opened.close()
    assert not opened.complaints


def show(page, body: str, prepared: str) -> None:
    page.set_content(f"<body>{body}<script>{prepared}</script><script>{SCRIPT}</script></body>")
    page.evaluate("window.loaded?.()")


def test_what_the_templates_do_not_name_is_brought_into_the_app(page):
    show(page, COMPONENTS + APP, "window.onUiLoaded = (answer) => { window.loaded = answer; };" + MODERN)
    button = page.locator("#bar #txt2img_send_to_labels4free")
    button.wait_for()
    assert button.get_attribute("title") == "➠ Labels4Free" and button.inner_text() == "L4"
    button.click()
    assert page.evaluate("window.sent") == "txt2img", "what listens to it goes on listening"
    assert page.locator("#hidden #gallery_send_to_labels4free").count() == 1, "there is no bar for it"
    assert page.locator("#layout-extras h2").all_inner_texts() == ["Upscale", "Labels4Free cut-out"]
    assert page.locator("#layout-extras .portal #switch").is_visible()
    page.evaluate("window.loaded()")
    page.wait_for_timeout(200)
    assert page.locator("#bar button").count() == 2 and page.locator("#layout-extras h2").count() == 2, "and only once"


@pytest.mark.parametrize(
    "prepared",
    [
        "",
        "window.onUiLoaded = (answer) => { window.loaded = answer; };",
        "window.onUiLoaded = (answer) => { window.loaded = answer; };" + MODERN,
    ],
    ids=["no host", "host", "no app"],
)
def test_elsewhere_nothing_is_touched(page, prepared):
    show(page, COMPONENTS, prepared)
    page.wait_for_timeout(200)
    assert page.locator("#hidden #txt2img_send_to_labels4free").inner_html().endswith("Labels4Free")
    assert page.locator("#hidden #l4f_extras #switch").count() == 1


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


def test_a_tab_opens_also_where_it_was_open_before(page):
    page.set_content(f"<body>{TABS}</body>")
    script = reveal(("mode_img2img", "img2img_inpaint_upload_tab"), first="switch_to_img2img", main="img2img")
    for _ in range(3):
        page.evaluate(script)
        assert page.evaluate("open") == 1


def test_what_was_sent_comes_into_view(page):
    page.set_content(f"<body>{TABS}<p id=strip>Here</p><p style='height: 4000px'></p></body>")
    page.evaluate("scrollTo(0, 3000)")
    page.evaluate(reveal(("tabs", "tab_l4f"), seen="strip"))
    page.wait_for_function("document.querySelector('#strip').getBoundingClientRect().top >= 0")


def test_a_button_is_pressed_when_its_place_is_first_seen_even_if_that_is_built_later(page):
    page.set_content("<button id='b' onclick='window.pressed = (window.pressed ?? 0) + 1'></button>")
    page.evaluate(when_seen("place", "b"))
    page.wait_for_timeout(400)
    assert page.evaluate("window.pressed") is None
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p id=place hidden>Here</p>')")
    page.wait_for_timeout(400)
    assert page.evaluate("window.pressed") is None, "it is there, and hidden"
    page.evaluate("document.querySelector('#place').hidden = false")
    page.wait_for_function("window.pressed === 1")
    page.evaluate("document.querySelector('#place').hidden = true")
    page.evaluate("document.querySelector('#place').hidden = false")
    page.wait_for_timeout(200)
    assert page.evaluate("window.pressed") == 1
