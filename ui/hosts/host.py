"""What is asked of a host, each time anew and with an answer for what it lacks."""

import importlib
import os
from pathlib import Path
from typing import Any

LOGINS, LOGIN_FILES = ("gradio_auth", "auth"), ("gradio_auth_path", "auth_file")
"""Options of hosts that name accounts, and files of them."""


def part(name: str) -> Any:
    """A module of the host's package `modules`, or one outside it by a name with a dot; None where it fails to load."""
    try:
        return importlib.import_module(name if "." in name else f"modules.{name}")
    except Exception:  # a host that is older, newer or half broken: the feature is lost, and nothing else
        return None


def find(name: str, attribute: str) -> Any:
    return getattr(part(name), attribute, None)


def option(key: str, default: Any = None) -> Any:
    """What the user has set in the host's settings; `default` for what is not there or empty."""
    value = getattr(find("shared", "opts"), key, None)
    return default if value is None or value == "" else value


def flag(*names: str) -> Any:
    """The first of these command-line options of the host that is set; None where none is."""
    options = find("shared", "cmd_opts")
    return next((value for value in (getattr(options, name, None) for name in names) if value), None)


def folder(path: str | os.PathLike | None) -> Path | None:
    """A folder named by the host or in its settings, absolute: SD.Next names them from its working directory, and
    people begin them with ~. None for an empty name."""
    return Path(os.path.abspath(os.path.expanduser(path))) if path else None


def models_folder() -> Path | None:
    """Where the host keeps its models, as --models-dir and --data-dir say."""
    return folder(find("paths", "models_path") or find("paths_internal", "models_path"))


def data_folder() -> Path | None:
    """What --data-dir names; None where the host keeps all data in its own folder."""
    data, own = (folder(find("paths", name)) for name in ("data_path", "script_path"))
    return data if own and data != own else None


def output_folder() -> Path:
    """Where the host saves pictures: next to the folders of txt2img and img2img."""
    if chosen := folder(option("outdir_samples")):
        return chosen
    if neighbour := folder(option("outdir_txt2img_samples")):
        return neighbour.parent
    return Path(os.path.abspath(find("paths", "data_path") or "")) / "outputs"


def has_login() -> bool:
    return bool(flag(*LOGINS, *LOGIN_FILES))


def is_private() -> bool:
    """Whether only its owner reaches the host's page: nobody else does, or a login is asked for."""
    if has_login() or flag("enable_insecure_extension_access", "insecure"):
        return True
    return not flag("listen", "share", "ngrok", "server_name")


def sub_path() -> str:
    """Where a proxy shows the host's page, as its --subpath says: empty, or with a slash before it."""
    written = str(flag("subpath") or "").strip("/")
    return f"/{written}" if written else ""
