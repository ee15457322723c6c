"""`windmill show`: one image with its boxes drawn on it."""

from __future__ import annotations

import argparse
import logging
import sys
import webbrowser
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image as Pictures

from windmill import accounts, catalog, explaining, pictures, report, scenes, wiring
from windmill.commands import one_image
from windmill.errors import ConfigError
from windmill.explaining import Case
from windmill.model import Box, ServiceReply
from windmill.plain import document, line
from windmill.scenes import Scene
from windmill.settings import Settings

log = logging.getLogger(__name__)

_FORMATS: Mapping[str, str] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}

HELP = """\
Draws an image with its merged boxes: number, label, score, and how many detectors agree. The strongest is
number 1, and the numbers are those of `windmill why IMAGE --box N`. Circles are faces. IMAGE is its number,
its path, its address, or its file name.

  windmill show DSC_0815.jpg                     writes ./DSC_0815-boxes.jpg, and says so
  windmill show 17 --box 2                       box 2 from near, and each detector's own box
  windmill show 17 --service nanodet             what one detector said, before merging
  windmill show 17 --out /tmp/seen.png --open    and opens it in the desktop's viewer
  windmill show chelsea.png --data demo          from the database that `windmill demo` left

The photo itself is never written to. Exit status: 0 drawn; 1 the photo cannot be read (any more); 2 there is
no such image, box or reply, or wrong settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    one_image.add_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--box", type=int, metavar="N", help="only this box, and who saw it how")
    which.add_argument("--service", metavar="NAME", help="only the boxes of this service, before merging")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the picture (default: ./NAME-boxes.jpg; also .png, .webp)"
    )
    parser.add_argument("--open", action="store_true", help="open the picture in the desktop's viewer")
    parser.add_argument("--json", action="store_true", help="the boxes as JSON on standard output, too")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with one_image.database(args, settings) as own, wiring.histories(own) as histories:
        case = histories.case(one_image.image_id(args.image, histories))
        target = _target(args, case)
        photo = _photo(case, own)
        scene = _scene(args, case, own, photo.size)
        _write(pictures.draw(photo, scene), target)
    _tell(args, case, target)
    if args.open and not webbrowser.open(target.absolute().as_uri()):
        log.warning("there is no desktop here to open %s", target)
    return 0


def _target(args: argparse.Namespace, case: Case) -> Path:
    """Where the picture goes. Raises `ConfigError` for the photo itself and for no picture's name."""
    what = f"box-{args.box}" if args.box is not None else args.service or "boxes"
    name = "-".join(map(report.picture_stem, (case.history.filename, what)))
    target: Path = args.out or Path(f"{name}.jpg")
    if target.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--out {target}: a picture's name ends in {', '.join(_FORMATS)}")
    photo = Path(case.history.path or "")
    if target.exists() and photo.exists() and target.samefile(photo):
        raise ConfigError(f"--out {target}: that is the photo itself; name another file")
    return target


def _photo(case: Case, settings: Settings) -> Pictures.Image:
    """The photo, upright. Raises `ImageError`."""
    history, files = case.history, wiring.images(settings)
    image = case.snapshot.image
    photo = files.decode(str(image.path or image.url), files.read(image))
    if history.width and photo.size != (history.width, history.height):
        log.warning(
            "the photo has %d×%d pixels now, and had %s×%s when it was admitted: boxes may be elsewhere",
            *photo.size,
            history.width,
            history.height,
        )
    return photo


def _scene(args: argparse.Namespace, case: Case, settings: Settings, size: tuple[int, int]) -> Scene:
    if args.service is not None:
        return scenes.of_detections(args.service, _reply(args.service, case).detections)
    if args.box is not None:
        return scenes.of_account(one_image.inquiry(case, settings).account(args.box), size)
    return scenes.of_boxes(explaining.boxes(case.snapshot), _faces(case))


def _reply(service: str, case: Case) -> ServiceReply:
    replies = {stored.reply.service: stored.reply for stored in case.snapshot.replies}
    if service not in replies:
        there = ", ".join(sorted(replies)) or "none"
        raise ConfigError(f"--service {service}: has not answered about this image; who has: {there}")
    return replies[service]


def _faces(case: Case) -> list[Box]:
    """Where the face service saw faces in the whole image."""
    name = catalog.BOX_WORKERS["bbox_face"]
    replies = [stored.reply for stored in case.snapshot.replies if stored.reply.service == name]
    return [seen.box for reply in replies for seen in reply.detections if seen.box]


def _write(picture: Pictures.Image, target: Path) -> None:
    """All of it or nothing: a full disk leaves no torn picture. Raises `ConfigError`."""
    data = BytesIO()
    picture.save(data, _FORMATS[target.suffix.lower()], quality=90)
    try:
        target.write_bytes(data.getvalue())
    except OSError as exc:
        raise ConfigError(f"--out {target}: cannot write it: {exc.strerror}") from exc


def _tell(args: argparse.Namespace, case: Case, target: Path) -> None:
    numbered = explaining.boxes(case.snapshot)
    if args.json:
        told = {
            "image_id": case.history.image_id,
            "picture": str(target.absolute()),
            "boxes": accounts.boxes(numbered),
        }
        sys.stdout.write(document(told) + "\n")
        return
    next_time = one_image.further(args, case.history.image_id, len(numbered), " --box N draws it from near")
    for said in (accounts.listing(numbered), next_time, f"picture: {target}"):
        sys.stdout.write(line(said) + "\n")
