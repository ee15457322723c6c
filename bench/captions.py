"""How well captions' emoji agree with what is in their photos: `python -m bench.captions [FILE]`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from windmill import vocabularies
from windmill.core.emoji import normalise
from windmill.services import emoji

PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "coco-photos" / "photos.json"


@dataclass
class Agreement:
    """By emoji, in captions: said of what is there, of what is not, and not said of what is there."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def note(self, said: set[str], there: set[str]) -> None:
        self.right.update(said & there)
        self.wrong.update(said - there)
        self.missed.update(there - said)

    def precision_and_recall(self, symbols: Mapping[str, str]) -> tuple[float, float]:
        """Of these emoji; 1 where nothing was said, or nothing was there."""
        right = sum(self.right[symbol] for symbol in symbols)
        said = right + sum(self.wrong[symbol] for symbol in symbols)
        there = right + sum(self.missed[symbol] for symbol in symbols)
        return (right / said if said else 1.0, right / there if there else 1.0)


def classes() -> dict[str, str]:
    """COCO's names by normalised emoji: other emoji cannot be checked on COCO's photos."""
    return {normalise(emoji.of(name)): name for name in vocabularies.names("coco")}


def captions(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Each caption, and the emoji of what is in its photo."""
    for photo in json.loads(path.read_text("utf-8")):
        there = {normalise(emoji.of(thing["label"])) for thing in photo["objects"]}
        yield from ((caption, there) for caption in photo["captions"])


def measure(path: Path) -> Agreement:
    known, agreement = classes().keys(), Agreement()
    for caption, there in captions(path):
        said = {normalise(mention["emoji"]) for mention in emoji.mappings(caption)}
        agreement.note(said & known, there)
    return agreement


def table(agreement: Agreement) -> Table:
    """All classes, all but people, and each by how often it was said."""
    known = classes()
    shown = Table("class", "said", "right", "precision", "recall")
    groups = [("all", known), ("all but person", {k: v for k, v in known.items() if v != "person"})]
    said = agreement.right + agreement.wrong
    groups += [(f"{symbol} {known[symbol]}", {symbol: known[symbol]}) for symbol, _ in said.most_common()]
    for name, symbols in groups:
        right, all_said = (sum(count[s] for s in symbols) for count in (agreement.right, said))
        precision, recall = agreement.precision_and_recall(symbols)
        shown.add_row(name, str(all_said), str(right), f"{precision:.2f}", f"{recall:.2f}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    Console().print(table(measure(parser.parse_args().photos)))


if __name__ == "__main__":
    main()
