"""`windmill demo`: the whole pipeline on photos that Python packages bring."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path

from windmill.commands import run as whole
from windmill.embedded import data_home
from windmill.errors import ConfigError
from windmill.settings import Settings

# Photographs in the two packages; the rest of their images are charts, textures and slides.
_SKIMAGE = "astronaut.png camera.png chelsea.png coffee.png coins.png motorcycle_left.png"
_PHOTOS = {
    "skimage": ("data", f"{_SKIMAGE} rocket.jpg"),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}

_WORDS = ("a kitten", "a hot drink", "flight into space", "public transport")

HELP = """\
Runs the whole pipeline on the photos that scikit-image and scikit-learn bring: an embedded PostgreSQL is the
database and the broker, eleven small reference services look at the photos, and the workers merge and vote.
Everything runs on loopback and ends with this command; results stay in ./demo.

  make demo                       installs what is needed first
  windmill run FOLDER             the same with photos of your own"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whole.add_options(parser, data=Path("demo"))
    parser.set_defaults(find=list(_WORDS))


def run(args: argparse.Namespace, settings: Settings) -> int:
    folder = data_home(args.data) / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for photo in _photos():
        if not (folder / photo.name).is_file():
            shutil.copyfile(photo, folder / photo.name)
    count = len(list(folder.iterdir()))
    sys.stderr.write(
        f"Windmill looks at {count} photos: three object detectors, a classifier, faces, poses, text,\n"
        "nudity, colours, metadata; boxes are merged, findings voted on. Models are fetched once.\n"
    )
    return whole.pipeline(str(folder), args, settings)


def _photos() -> list[Path]:
    found = []
    for package, (folder, names) in _PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"{package} is missing: pip install 'windmill-images[demo]'")
        place = Path(spec.submodule_search_locations[0]) / folder
        found += [place / name for name in names.split() if (place / name).is_file()]
    return found
