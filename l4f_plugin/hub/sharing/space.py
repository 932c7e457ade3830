"""A Gradio Space made of a class: a folder that runs by itself, here or on the Hub.

README.md           what the Hub builds it by: Gradio, Python
app.py              starts the page; written beside it, as `space/app.txt`
requirements.txt    pinned; the plug-in itself is on no index and lies beside
l4f_plugin, l4f_ui  the packages, without what a demonstration must not have: training, commands, hosts, API
weights             the catalogue with its one class, and the bundle, or the revision it is fetched by
space.json          the class and the limits of a visitor
"""

import fnmatch
import importlib.metadata
import importlib.util
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

from ...bundles import records
from ...bundles.catalogue import CATALOGUE_NAME, SCHEMA_VERSION
from ...bundles.config import ObjectClass, read_config
from ...bundles.fields import REPOSITORY_ID
from ...bundles.files import write_text, writing
from ...errors import UserError
from ...jobs import Report
from ..download import resolve
from .card import front_matter
from .model_repository import USUAL, Publication, new_folder, prepare, publish
from .terms import Terms, terms_of
from .upload import check_name

PYTHON_VERSION = "3.10.13"  # a release that ZeroGPU offers; everything in `REQUIREMENTS` has wheels for it
GRADIO_VERSION = "6.31.0"
REQUIREMENTS = (
    "torch==2.13.0",
    "numpy==2.2.6",
    "pillow==12.3.0",
    "safetensors==0.8.0",
    "huggingface-hub==2.4.0",
    f"gradio=={GRADIO_VERSION}",
)
# What a visitor must not reach is not there.
LEFT_OUT = {
    "l4f_plugin": ("training", "datasets", "evaluation", "commands", "hub/sharing", "cli.py", "__main__.py"),
    "l4f_ui": ("hosts", "api", "models_*.py", "__main__.py", "app.py"),
}
_SUFFIXES = (".py", ".json", ".css", ".js", ".svg", ".safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_START = Path("space", "app.txt")  # of the page's package: becomes app.py


def prepare_space(
    name: str | Path, space: str, folder: Path, publication: Publication = USUAL, report: Report = lambda message: None
) -> None:
    """Writes into the new or empty `folder` what `publish_space` would upload. Raises `UserError`."""
    check_name(space)
    folder = new_folder(folder)
    source = resolve(name)
    config = read_config(source)
    terms = terms_of(config, source, publication.declared)
    if "alpha.safetensors" not in config.files or publication.declared.without_masks:
        raise UserError(
            f"{config.name} has no masks that could be shown; learn them with: l4f learn-masks {config.name}."
        )
    pinned = None if publication.copy else _pinned(name, source)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for package in LEFT_OUT:
            _copy_package(package, folder / package)
        (folder / "weights").mkdir()
        if pinned is None:
            prepare(source, space, folder / "weights" / config.name, Publication(publication.declared), report)
        about = {"title": config.title, "resolution": config.resolution, "licence": terms.licence, "alpha": True}
        about |= {"repository": pinned[0], "revision": pinned[1]} if pinned else {"folder": config.name}
        table = {"schema_version": SCHEMA_VERSION, "classes": {config.name: about}}
        write_text(folder / "weights" / CATALOGUE_NAME, json.dumps(table, indent=1) + "\n")
        for file, content in terms.files.items():
            (folder / file).write_bytes(content)
        _write_licence(folder)
        shutil.copyfile(_package_folder("l4f_ui") / _START, folder / "app.py")
        write_text(folder / "requirements.txt", "\n".join(REQUIREMENTS) + "\n")
        write_text(folder / "space.json", json.dumps({"class": config.name, "limits": {}}, indent=1) + "\n")
        write_text(folder / "README.md", _readme(config, terms, pinned))


def publish_space(
    name: str | Path, space: str, publication: Publication = USUAL, report: Report = lambda message: None
) -> str | None:
    """As `publish`, for the Space OWNER/NAME."""
    replaced = ("l4f_plugin/*", "l4f_ui/*", "weights/*")
    return publish(name, space, publication, report, prepare=prepare_space, kind="space", replaced=replaced)


def _pinned(name: str | Path, source: Path) -> tuple[str, str] | None:
    """Repository and commit of a bundle that was asked for by its repository and came from there."""
    if isinstance(name, Path) or not REPOSITORY_ID.fullmatch(name) or Path(name).is_dir():
        return None
    commit = records.recall(name, source).get("revision") or source.name
    return (name, commit) if _COMMIT.fullmatch(commit) else None


def _package_folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"The package {package} is not installed; install Labels4Free as a whole and try again.")
    return Path(found.submodule_search_locations[0])


def _copy_package(package: str, target: Path) -> None:
    origin = _package_folder(package)

    def ignore(folder: str, names: list[str]) -> set[str]:
        within = Path(folder).relative_to(origin)
        return {
            name
            for name in names
            if name in ("__pycache__", "node_modules")
            or name.startswith(".")
            or any(fnmatch.fnmatch((within / name).as_posix(), pattern) for pattern in LEFT_OUT[package])
            or not ((origin / within / name).is_dir() or Path(name).suffix in _SUFFIXES)
        }

    shutil.copytree(origin, target, ignore=ignore)


def _write_licence(folder: Path) -> None:
    """The licence of the program, beside that of the weights."""
    beside, text = Path(__file__).resolve().parents[3] / "LICENSE", None
    with suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.distribution("labels4free-plugin") if not beside.is_file() else None
        text = installed.read_text("licenses/LICENSE") if installed else beside.read_text(encoding="utf-8")
    if text is None:
        raise UserError("The licence of Labels4Free is missing from its installation; fetch Labels4Free again.")
    write_text(folder / "LICENSE", text)


def _readme(config: ObjectClass, terms: Terms, pinned: tuple[str, str] | None) -> str:
    where = (
        f"from [{pinned[0]}](https://huggingface.co/{pinned[0]}), revision `{pinned[1]}`"
        if pinned
        else f"in `weights/{config.name}`, where its README tells how they came about"
    )
    shown = ["emoji: ✂️", "colorFrom: indigo", "colorTo: gray", "pinned: false"]
    run = ["sdk: gradio", f"sdk_version: {GRADIO_VERSION}", f'python_version: "{PYTHON_VERSION}"', "app_file: app.py"]
    tags = ["tags:", "- labels4free", *(f"- {tag}" for tag in terms.tags)]
    models = ["models:", f"- {pinned[0]}"] if pinned else []
    title = json.dumps(f"Labels4Free: {config.title}")
    return f"""\
{front_matter(terms, f"title: {title}", *shown, *run, *tags, *models)}

# {config.title}

Pictures with soft masks, and new backgrounds for them, drawn by Labels4Free.

- Weights: {where}
- Licence of the weights: {terms.licence}
- Source of the weights: {config.source}
- Licence of the program: Apache-2.0, see `LICENSE`

Run it on your own computer:

```
pip install -r requirements.txt
python app.py
```
"""
