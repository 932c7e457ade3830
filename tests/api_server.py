"""What the tests of the HTTP API share: the API over the tiny class, without a server and behind the real page's."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image
from serving import served
from starlette.testclient import TestClient

from l4f_ui import api
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings
from l4f_ui.visitors import Visitors

ADDRESS = "http://127.0.0.1"
V1 = "/l4f/v1/"


def service(folder) -> Service:
    return Service(lambda: Settings(device="cpu", default_class="tiny"), Outputs(folder))


def client(made: Service, authorise=None, address: str = ADDRESS) -> TestClient:
    """Calls the API as the server would, in this process."""
    served = FastAPI()
    api.mount(served, made, authorise, Visitors(login=authorise is not None, programs=True), "")
    return TestClient(served, base_url=address, raise_server_exceptions=False)


@contextmanager
def page_served(folder, **arguments: Any) -> Iterator[SimpleNamespace]:
    """The stand-alone page with its API, served as `l4f app` serves it; `address` and `api` end with a slash."""
    made = service(folder)
    with served(made, programs=made, **arguments) as site:
        yield SimpleNamespace(**vars(site), page=site.blocks.l4f, api=site.address.rstrip("/") + V1)


def picture(encoded: str | bytes) -> np.ndarray:
    content = base64.b64decode(encoded) if isinstance(encoded, str) else encoded
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def refused(response, status: int, words: str = "") -> str:
    """The message of a refusal, which is one sentence."""
    assert response.status_code == status, (response.status_code, response.text[:300])
    assert response.headers["content-type"] == "application/json"
    [error] = response.json().values()
    assert set(error) == {"code", "message"} and error["code"].replace("_", "").isalpha()
    message = error["message"]
    assert words in message and message.endswith(".") and len(message) < 400
    assert "Traceback" not in message and "\n" not in message
    return message
