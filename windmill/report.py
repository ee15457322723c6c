"""Findings as a table for a terminal, as a page, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath

from rich.table import Table

from windmill import plain
from windmill.findings import Findings, problems, summary
from windmill.progress import plain as cell

# What to ask next; each runs as it stands.
QUERIES: Mapping[str, str] = {
    "which labels, in how many photos": (
        "SELECT vote ->> 'emoji' AS emoji, count(*) AS photos\n"
        "FROM consensus,\n     jsonb_array_elements(consensus_data -> 'votes' -> 'consensus') AS vote\n"
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;"
    ),
    "boxes that at least two detectors agree on": (
        "SELECT image_filename, merged_data ->> 'label' AS label,\n       merged_data ->> 'score' AS score\n"
        "FROM merged_boxes JOIN images USING (image_id)\n"
        "WHERE (merged_data ->> 'detection_count')::int >= 2 ORDER BY 3 DESC LIMIT 5;"
    ),
    "how each service did": (
        "SELECT service, count(*) AS total,\n       count(*) FILTER (WHERE status = 'success') AS success,\n"
        "       round(avg(processing_time)::numeric, 3) AS seconds\n"
        "FROM results GROUP BY service ORDER BY service;"
    ),
}

Match = tuple[str, float]  # a photo's file name, and its cosine to some words

_SHOWN = 8  # boxes of one photo in a table
_STEM = 60  # characters of a photo's name that its picture keeps: at most 240 bytes
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}")
_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
       color: #1d1d1f; background: #fafafa }
main { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)) }
article { background: #fff; border-radius: .6rem; box-shadow: 0 1px 4px #0002; overflow: hidden }
img { width: 100%; height: 15rem; object-fit: contain; background: #222; display: block }
section { padding: .8rem 1rem 1rem } h2 { font-size: 1rem; margin: 0 0 .4rem; overflow-wrap: anywhere }
p { margin: .25rem 0 } .swatch { display: inline-block; width: 1rem; height: 1rem; border-radius: .2rem;
vertical-align: -.15rem; border: 1px solid #0003 } .error { color: #b00020 } .quiet { color: #666 }
@media (prefers-color-scheme: dark) { body { background: #161617; color: #eee }
article { background: #232325 } .quiet { color: #aaa } }
"""


def table(findings: Sequence[Findings]) -> Table:
    """A row for each photo."""
    made = Table(title=summary(findings), title_justify="left", show_lines=True)
    for column in ("photo", "votes", "merged boxes", "faces", "colours", "text, errors"):
        made.add_column(column, overflow="fold")
    for one in findings:
        faces = len(one.faces) or ""
        cells = (one.filename, votes(one), boxes(one), faces, _colours(one), _text(one))
        made.add_row(*(cell(value) for value in cells))
    return made


def search(matches: Mapping[str, Sequence[Match]]) -> Table:
    """The photos nearest to some words, best first."""
    made = Table("words", "nearest photos (cosine)")
    for words, near in matches.items():
        made.add_row(*map(cell, (words, ", ".join(f"{name} {cosine:.2f}" for name, cosine in near))))
    return made


def document(findings: Sequence[Findings], matches: Mapping[str, Sequence[Match]]) -> str:
    """All findings as JSON; `found_by` holds the words that a photo is among the nearest to, with cosines."""
    return plain.document([asdict(one) | {"found_by": _found_by(one, matches)} for one in findings])


def _found_by(one: Findings, matches: Mapping[str, Sequence[Match]]) -> Mapping[str, float]:
    return {words: cosine for words, near in matches.items() for name, cosine in near if name == one.filename}


def page(findings: Sequence[Findings], pictures: Mapping[int, str]) -> str:
    """A contact sheet in HTML; `pictures` holds each annotated picture's file name by image id."""
    cards = "\n".join(_card(one, pictures.get(one.image_id)) for one in findings)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Windmill</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><h1>What Windmill found</h1>"
        f"<p class=quiet>{plain.markup(summary(findings))}. "
        "Boxes: merged from all detectors, with their number, score and how many agree. Circles: faces.</p>"
        f"<main>{cards}</main></html>\n"
    )


def _card(one: Findings, picture: str | None) -> str:
    name = plain.markup(one.filename)
    image = (
        f'<a href="{plain.markup(picture)}"><img src="{plain.markup(picture)}" alt="{name}"></a>'
        if picture
        else ""
    )
    swatches = " ".join(f"{_swatch(code)} {plain.markup(name)}" for code, name in one.colours)
    nothing = "<span class=quiet>no two services agree on anything</span>"
    lines = [
        f"<p>{plain.markup(votes(one)) or nothing}</p>",
        f"<p>{plain.markup(boxes(one))}</p>" if one.boxes else "",
        f"<p>{len(one.faces)} face{'s' * (len(one.faces) != 1)}</p>" if one.faces else "",
        f"<p>“{plain.markup(one.text)}”</p>" if one.text else "",
        f"<p>{swatches}</p>",
        *(f"<p class=error>{plain.markup(error)}</p>" for error in problems(one)),
    ]
    return f"<article>{image}<section><h2>{name}</h2>{''.join(lines)}</section></article>"


def picture_name(one: Findings) -> str:
    """The file name of an annotated picture: one that neither a link nor a file system reads otherwise."""
    return f"{picture_stem(one.filename)}-{one.image_id}.jpg"


def picture_stem(filename: str) -> str:
    """What such a name begins with, of a photo's name."""
    return re.sub(r"[^\w.-]+", "_", PurePath(filename).stem)[:_STEM].lstrip(".-")


def _swatch(code: str) -> str:
    """A small square of a colour; nothing for what is no colour, which a style sheet might obey."""
    if not _COLOUR.fullmatch(code):
        return ""
    return f'<span class=swatch style="background:{code}" title="{code}"></span>'


def votes(one: Findings) -> str:
    """An image's consensus in one line, best first."""
    return ", ".join(f"{emoji} {label} {count}".replace("  ", " ") for emoji, label, count in one.votes)


def boxes(one: Findings) -> str:
    """Its merged boxes in one line, the surest first: label, score, and how many services agree."""
    return ", ".join(
        f"{found.label} {found.score:.2f} ×{found.detection_count}" for found in one.boxes[:_SHOWN]
    ) + (f" and {len(one.boxes) - _SHOWN} more" if len(one.boxes) > _SHOWN else "")


def _colours(one: Findings) -> str:
    return ", ".join(dict.fromkeys(name for _, name in one.colours))


def _text(one: Findings) -> str:
    return "; ".join(filter(None, (one.text, *problems(one))))
