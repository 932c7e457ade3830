"""Whether the weights of a class may be passed on, and what has to go along with them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ...bundles.config import ObjectClass
from ...bundles.files import open_plain, unreadable
from ...bundles.licences import restriction
from ...bundles.model_card import read_model_card
from ...errors import UserError

UNKNOWN = "unknown"
LICENCE_FILE = "LICENSE.txt"
ATTRIBUTION_FILE = "ATTRIBUTION.md"
LARGEST_TEXT = 1 << 20
_TEXTS = Path(__file__).with_name("licence_texts")
_NVIDIA = re.compile(r"nvidia|nvlabs|stylegan2-(ffhq|horse|cat|car|church)-config-[a-f]\b", re.IGNORECASE)
# The text that each of NVIDIA's programs is under; the first whose words the provenance holds, else the last.
_NVIDIA_TEXTS = (
    (re.compile(r"stylegan3", re.IGNORECASE), "nvidia-stylegan3.txt"),
    (re.compile(r"\bada\b.*pytorch|pytorch.*\bada\b|ada-pytorch", re.IGNORECASE), "nvidia-stylegan2-ada-pytorch.txt"),
    (re.compile(r"\bada\b", re.IGNORECASE), "nvidia-stylegan2-ada.txt"),
    (re.compile(""), "nvidia-stylegan2.txt"),
)
_ATTRIBUTION = re.compile(r"\bcc[- ]by\b|creative commons attribution", re.IGNORECASE)
_MENTIONED = re.compile(r"^.*\battribution\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Declared:
    """What the person who publishes says, beyond what the bundle says itself."""

    licence: str | None = None  # of a class whose licence is unknown
    attribution: str | None = None  # a text that names whose work it is made of
    licence_file: Path | None = None  # the text of the licence
    without_masks: bool = False  # leaves the alpha network out
    own_masks: bool = False  # masks of which the bundle does not tell were not taken from somebody


@dataclass(frozen=True)
class Terms:
    """What goes along: the licence's name, tags of the card, and files by name."""

    licence: str
    tags: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def restricted(self) -> bool:
        """Whether commercial use is excluded."""
        return "non-commercial" in self.tags


class NotDeclared(UserError):
    """Something is to be declared first. The sentence names the option of the command; a page asks for `what`.

    `what` is "licence", "attribution", "masks" (whether they are one's own, or stay behind) or "foreign_masks" (that
    they stay behind, since they may not be passed on).
    """

    def __init__(self, what: str, sentence: str):
        super().__init__(sentence)
        self.what = what


def terms_of(config: ObjectClass, folder: Path, declared: Declared) -> Terms:
    """The terms under which the bundle in `folder` may be published.

    Raises `UserError` where it may not be, as `NotDeclared` where a word of the person who publishes would do.
    """
    _check_masks(config, declared)
    licence = _licence(config, declared)
    names = (LICENCE_FILE, "LICENSE", "NOTICE", "NOTICE.txt", ATTRIBUTION_FILE)  # that may lie beside the bundle
    files = {name: _read(folder / name) for name in names if (folder / name).is_file()}
    if "LICENSE" in files:
        files.setdefault(LICENCE_FILE, files.pop("LICENSE"))
    if declared.licence_file is not None:
        files[LICENCE_FILE] = _read(declared.licence_file)
    if declared.attribution:
        files[ATTRIBUTION_FILE] = (declared.attribution.strip() + "\n").encode()
    origin = f"{licence}; {config.licence}; {config.source}"
    if _NVIDIA.search(origin):
        text = next(name for pattern, name in _NVIDIA_TEXTS if pattern.search(origin))
        files.setdefault(LICENCE_FILE, (_TEXTS / text).read_bytes())
        if "nvidia" not in licence.lower():
            raise UserError(
                f"{config.name} comes from weights by NVIDIA, whose terms stay with it: it cannot "
                f"be published as {licence}; leave the licence of the bundle as it was."
            )
        return Terms(licence, ("non-commercial", "nvidia-source-code-license"), files)
    credited = ATTRIBUTION_FILE in files or _MENTIONED.search(read_model_card(folder) or "")
    if _ATTRIBUTION.search(licence) and not credited:
        raise NotDeclared(
            "attribution",
            f"{licence} asks for attribution and nothing in {config.name} gives it; "
            f"name whose work it is made of with --attribution TEXT, or put {ATTRIBUTION_FILE} beside "
            "its config.json.",
        )
    return Terms(licence, ("non-commercial",) if restriction(licence) else (), files)


def _licence(config: ObjectClass, declared: Declared) -> str:
    known = config.licence.strip().lower() not in (UNKNOWN, "other", "none", "")
    if known and declared.licence and declared.licence.strip().lower() != config.licence.lower():
        raise UserError(
            f"{config.name} is under {config.licence} already, which --declare-licence does not "
            "change; leave that option out."
        )
    if known:
        return config.licence
    if not declared.licence or declared.licence.strip().lower() == UNKNOWN:
        raise NotDeclared(
            "licence",
            f"The licence of {config.name} is unknown, so it may not be passed on; if "
            "you know it, say which it is with --declare-licence, such as --declare-licence CC0-1.0.",
        )
    return declared.licence.strip()


def _check_masks(config: ObjectClass, declared: Declared) -> None:
    if "alpha.safetensors" not in config.files or declared.without_masks:
        return
    name = config.name
    instead = f"learn masks of your own with `l4f learn-masks {name} --again`, or publish it with --without-masks"
    if config.alpha_origin == "imported":
        raise NotDeclared(
            "foreign_masks",
            f"The masks of {name} were imported from a checkpoint in the Labels4Free "
            f"authors' layout, which has no licence and may not be passed on; {instead}.",
        )
    # Before the origin was recorded: an imported network never had a learned background with it.
    learned = config.alpha_origin == "learned" or "background.safetensors" in config.files
    if not learned and not declared.own_masks:
        raise NotDeclared(
            "masks",
            f"Nothing tells where the masks of {name} come from; if you learned them yourself, "
            f"say so with --own-masks, otherwise {instead}.",
        )


def _read(path: Path) -> bytes:
    try:
        with open_plain(path) as file:
            content = file.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise unreadable(error, path) from error
    if not content.strip() or len(content) > LARGEST_TEXT:
        raise UserError(f"{path} is no text of a licence or an attribution; choose another file.")
    return content
