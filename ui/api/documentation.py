"""The description of the API as one plain page: no script, nothing from a network, light or dark by choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from ..texts import text
from . import PREFIX

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --quiet: #667; --accent: #4338ca; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9aa; --accent: #a5b4fc; } }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; max-width: 60rem;
  margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { margin-bottom: 0; } h1 small { font-size: .5em; font-weight: 400; color: var(--quiet); }
h2 { margin: 3rem 0 .25rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
a { color: var(--accent); } nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
code, pre { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .875em; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem;
  overflow-x: auto; }
.method { color: var(--accent); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--quiet); } td:first-child { white-space: nowrap; }
.type { color: var(--quiet); display: inline-block; max-width: 18rem; }
"""
_EXAMPLES = {
    "/generate": """-H 'Content-Type: application/json' -H 'Accept: application/zip' \\
     -d '{"seeds": "0-3", "truncation_psi": 0.7}' -o pictures.zip""",
    "/swap": """-H 'Accept: image/png' \\
     -F seed=3 -F picture=@beach.jpg -o swapped.png""",
    "/segment": """-H 'Accept: image/png' \\
     -F picture=@seed0003.png -F include=cutout -o cutout.png""",
}


def page(described: Mapping[str, Any]) -> str:
    """The page for an OpenAPI description."""
    information, paths = described["info"], described["paths"]
    links = "".join(f'<a href="#{path[1:]}"><code>{path}</code></a>' for path in paths)
    sections = "".join(
        _operation(path, method, operation, described.get("components", {}).get("schemas", {}))
        for path, methods in paths.items()
        for method, operation in methods.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(information["title"])}</title><style>{_STYLE}</style></head><body>
<h1>{escape(information["title"])} <small>{escape(information["version"])}</small></h1>
{_paragraphs(information["description"])}
<nav>{links}<a href="openapi.json">openapi.json</a></nav>
{sections}</body></html>"""


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [
        f'<h2 id="{path[1:]}">{escape(operation["summary"])}</h2>',
        f'<p><code><span class="method">{method.upper()}</span> {PREFIX}{path}</code></p>',
        _paragraphs(operation["description"]),
    ]
    contents = operation.get("requestBody", {}).get("content", {})
    if contents:
        kinds = escape(text("http.docs.or").join(contents))
        parts.append(f"<h3>{escape(text('http.docs.request'))}</h3><p>{kinds}</p>")
        parts.append(_table(contents["application/json"]["schema"]["properties"], with_default=True))
        example = f"curl http://127.0.0.1:7860{PREFIX}{path} {_EXAMPLES[path]}"
        parts.append(f"<pre>{escape(example)}</pre>")
    parts.append(f"<h3>{escape(text('http.docs.answer'))}</h3>")
    answers = operation["responses"]
    good = answers["200"]["content"]
    parts.append(f"<p>{escape(text('http.docs.or').join(good))}</p>")
    parts.append(_table(dict(_answer_fields(good["application/json"]["schema"], schemas)), with_default=False))
    failures = "".join(
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in answers.items()
        if status != "200"
    )
    parts.append(f"<h3>{escape(text('http.docs.failures'))}</h3><div class='scroll'><table>{failures}</table></div>")
    return "".join(parts)


def _paragraphs(words: str) -> str:
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in words.split("\n\n"))


def _answer_fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], before: str = "") -> Iterator[tuple]:
    """Every field of an answer by its path, as `samples[].seed`."""
    named = schemas[schema["$ref"].rpartition("/")[2]]
    for name, part in named["properties"].items():
        yield before + name, part
        if "$ref" in part.get("items", {}):
            yield from _answer_fields(part["items"], schemas, f"{before}{name}[].")


def _table(fields: Mapping[str, Any], *, with_default: bool) -> str:
    words = ["field", "type", *(["default"] if with_default else []), "meaning"]
    head = "".join(f"<th>{escape(text(f'http.docs.{word}'))}</th>" for word in words)
    rows = []
    for name, part in fields.items():
        cells = [f"<code>{escape(name)}</code>", f'<span class="type">{escape(_type(part))}</span>']
        if with_default:
            cells.append(f"<code>{escape(_default(part))}</code>")
        cells.append(escape(part.get("description", "")))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<div class='scroll'><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def _type(part: Mapping[str, Any]) -> str:
    """The types and bounds of a field in few signs."""
    options = [option for option in part.get("anyOf", [part]) if option.get("type") != "null"]
    return text("http.docs.or").join(_one_type(option) for option in options)


def _one_type(option: Mapping[str, Any]) -> str:
    kind = option.get("type", "object")
    if kind == "array":
        items = option.get("items", {})
        return f"{kind} of {_one_type(items)}" if "$ref" not in items else kind
    if "minimum" in option and "maximum" in option:
        return text("http.docs.range", kind=kind, least=_plain(option["minimum"]), most=_plain(option["maximum"]))
    return " | ".join(option["enum"]) if "enum" in option else kind


def _plain(number: float) -> str:
    return str(int(number) if number == int(number) else number)


def _default(part: Mapping[str, Any]) -> str:
    value = part.get("default")
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
