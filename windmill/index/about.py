"""What a store keeps about an index beside its vectors, in whatever place it has for one text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from windmill.errors import IndexDamaged, OtherEmbedder
from windmill.index.vectors import Embedder
from windmill.model import Numbering

FORMAT = 1


@dataclass(frozen=True, slots=True)
class About:
    """Whose vectors an index has, and what its ids are."""

    embedder: Embedder
    numbering: Numbering

    def text(self) -> str:
        """As JSON of one line."""
        told = {"format": FORMAT, "numbering": str(self.numbering), **asdict(self.embedder)}
        return json.dumps(told, ensure_ascii=False)

    def check(self, found: About, place: str) -> None:
        """Raises `OtherEmbedder` where the index at `place` is not of this kind."""
        if found.embedder != self.embedder:
            raise OtherEmbedder(
                f"{place}: an index of {found.embedder}; {self.embedder} has nothing in common with it: name"
                " another place, or delete that index"
            )
        if found.numbering != self.numbering:
            raise OtherEmbedder(
                f"{place}: its ids are {_NUMBERED[found.numbering]}, the new ones"
                f" {_NUMBERED[self.numbering]}: name another place"
            )


_NUMBERED = {Numbering.IMAGES: "those of the database", Numbering.CONTENT: "made of the files' content"}


def read(text: str, place: str) -> About:
    """What `About.text` made. Raises `IndexDamaged`."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, and this Windmill reads {FORMAT}")  # noqa: TRY301
        embedder = Embedder(
            service=data["service"],
            name=data["name"],
            version=data["version"],
            dimension=int(data["dimension"]),
        )
        return About(embedder, Numbering(data["numbering"]))
    except (ValueError, LookupError, TypeError) as exc:
        raise IndexDamaged(f"{place}: not what Windmill keeps about an index: {exc}") from exc
