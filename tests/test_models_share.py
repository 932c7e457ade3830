"""Publishing the picked class from the panel Models, against the writing half of a Hub on the loopback."""

import gradio as gr
import pytest
from bundles import saved
from models_page import Page, maskless, plain

from l4f_plugin import sample_sheet
from l4f_plugin.hub.sharing import model_repository, upload


@pytest.fixture
def hub(own_folders, upload_hub, notices):
    return upload_hub


@pytest.fixture
def page(hub, tmp_path):
    yield from Page.open(tmp_path)


def put(tmp_path, name: str, **made):
    saved(tmp_path / "models" / name, **{"title": name.title(), "alpha_origin": "learned", **made})


def publish(page: Page, name: str, **answers) -> tuple[dict, str]:
    form, seen = page.panel.sharing, page.pick(name)
    shown, told = page.form(form, form.publish, **{"kind": "model", "repository": "me/l4f-dogs", **answers})
    return {**seen, **shown}, told


def asked(page: Page, seen: dict) -> list[str]:
    """What the form wants to know."""
    return [name for name, field in page.panel.sharing.fields.items() if seen[field].get("visible")]


def test_a_click_makes_a_repository(hub, page, tmp_path):
    put(tmp_path, "dogs")
    seen, told = publish(page, "dogs", repository=f"{hub.address}/me/l4f-dogs/", private=True)
    assert told == f"Dogs is published at {hub.address}/me/l4f-dogs"
    assert f'href="{hub.address}/me/l4f-dogs"' in seen[page.panel.sharing.job.status]
    made = hub.repositories["me/l4f-dogs"]
    assert (made.kind, made.private) == ("model", True)
    assert {"samples.png", "generator.safetensors", "alpha.safetensors"} <= made.files.keys()


def test_a_click_makes_a_space(hub, page, tmp_path):
    put(tmp_path, "dogs")
    _, told = publish(page, "dogs", kind="space", repository=f"{hub.address}/spaces/me/demo")
    made = hub.repositories["me/demo"]
    assert told.endswith("/spaces/me/demo") and made.kind == "space" and "app.py" in made.files
    maskless(tmp_path)
    _, told = publish(page, "plain", kind="space", repository="me/other")
    assert "no masks that a demonstration could show" in told and "me/other" not in hub.repositories


def test_what_a_licence_wants_is_asked_for_one_by_one(hub, page, tmp_path):
    put(tmp_path, "cats", licence="unknown", alpha_origin="imported", without=("background",))
    seen, told = publish(page, "cats", licence="MIT", masks="own")  # nobody was asked yet
    assert "Answer the question" in told and asked(page, seen) == ["masks"] and not hub.repositories
    form = page.panel.sharing
    assert [value for _, value in seen[form.masks]["choices"]] == ["without"]
    assert "may not be passed on" in plain(seen[form.question])
    seen, _ = publish(page, "cats", masks="without")
    assert asked(page, seen) == ["masks", "licence"] and "Which is it" in seen[form.question]
    seen, _ = publish(page, "cats", masks="without", licence="CC-BY-4.0")
    assert asked(page, seen) == ["masks", "licence", "attribution"] and not hub.repositories
    _, told = publish(page, "cats", masks="without", licence="CC-BY-4.0", attribution="Pictures by Jo")
    assert "is published" in told
    files = hub.repositories["me/l4f-dogs"].files
    assert b"Jo" in files["ATTRIBUTION.md"] and "alpha.safetensors" not in files


def test_answers_about_one_class_are_not_given_for_another(hub, page, tmp_path):
    put(tmp_path, "cats", licence="unknown")
    put(tmp_path, "cows", licence="unknown")
    publish(page, "cats")
    assert page.panel.sharing.licence not in page.panel.show(page.visit), "being drawn anew, it keeps what is filled in"
    seen = page.pick("cows")
    assert seen[page.panel.sharing.asks] == gr.update(visible=False)
    assert seen[page.panel.sharing.licence]["value"] is None
    seen, told = publish(page, "cows", licence="MIT")
    assert "Answer the question" in told and not hub.repositories


def test_a_refusal_is_told_and_a_later_click_succeeds(hub, page, tmp_path):
    put(tmp_path, "dogs")
    hub.refuse["/api/repos/create"] = 403
    _, told = publish(page, "dogs")
    assert "does not let you write" in told and hub.token not in told and str(tmp_path) not in told
    hub.refuse.clear()
    assert "is published" in publish(page, "dogs")[1]


def test_only_what_is_here_is_published(hub, page, tmp_path):
    seen, told = publish(page, "ffhq")
    assert "is not on this computer" in told and "download it first" in seen[page.panel.sharing.about]


def test_cancel_before_the_upload_uploads_nothing(hub, page, tmp_path, monkeypatch):
    put(tmp_path, "dogs")
    draw = sample_sheet.draw_samples

    def slow(*given, **options):
        [task] = page.class_jobs.jobs.running("dogs")
        task.token.cancel()
        return draw(*given, **options)

    monkeypatch.setattr(sample_sheet, "draw_samples", slow)
    assert publish(page, "dogs")[1] == "Stopped." and not hub.repositories


def test_cancel_during_the_upload_tells_what_came_of_it(hub, page, tmp_path, monkeypatch):
    """An upload cannot be stopped: "Stopped" would be a lie."""
    put(tmp_path, "dogs")
    send, form_token = model_repository.upload, page.service.new_token()

    def cancelled(*given, **options):
        form_token.cancel()
        return send(*given, **options)

    monkeypatch.setattr(page.service, "new_token", lambda: form_token)
    monkeypatch.setattr(model_repository, "upload", cancelled)
    assert "is published" in publish(page, "dogs")[1]


def test_a_dry_run_writes_the_folder_and_uploads_nothing(hub, page, tmp_path, monkeypatch):
    put(tmp_path, "dogs")
    monkeypatch.setattr(upload, "logged_in_as", lambda: "ann")
    _, told = publish(page, "dogs", dry=True)
    [folder] = (tmp_path / "out" / "to-publish").iterdir()
    assert "would go to me/l4f-dogs, as ann" in told and (folder / "config.json").is_file()
    assert not any("create" in request.path for request in hub.requests)
    monkeypatch.setattr(upload, "logged_in_as", lambda: None)
    assert "nobody is logged in" in publish(page, "dogs", dry=True, kind="space")[1]
