"""`windmill models`: the weights of the services' models."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from windmill.errors import ConfigError
from windmill.plain import line
from windmill.progress import plain
from windmill.services import registry
from windmill.services.weights import Entry, Weights, cache_folder, fetch, known, manifest, store
from windmill.services.weights.entries import entry
from windmill.settings import Settings

HELP = """\
The weights of the services' models: what there is, where it comes from, whose it is. They lie in
WINDMILL_CACHE (~/.cache/windmill), which can be copied to a machine without a network as it is.

  windmill models ls                            what there is, and what of it is here
  windmill models pull nanodet xception         what these (services, too) need; goes on where it broke off
  windmill models pull all                      all that need not be brought by hand
  windmill models path face                     where it lies: its file, or the folder of its files
  windmill models verify                        compares all that is here with what it should be
  windmill models add yolo_365 best.pt          takes a file (or a folder) of your own for a model

Exit status: 0 done; 1 something could not be fetched, or is not what it should be; 2 no such model, or it
is not here; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(ACTIONS), help="what to do")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="models; pull: or services, or all; add: NAME PATH"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 -- a command's signature
    return ACTIONS[args.action](args.names, args.json)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one model: its weights, or why there are none."""

    name: str
    weights: Weights | None
    problems: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        told: dict[str, object] = {"name": self.name, "problems": list(self.problems)}
        if self.weights:
            files = dict(self.weights.files)
            told |= {"folder": str(self.weights.folder), "sha256": self.weights.sha256, "files": files}
        return told


def _list(names: list[str], as_json: bool) -> int:
    entries = [store.standing(name) for name in names or manifest()]
    if as_json:
        sys.stdout.write(json.dumps([_about(one) for one in entries], indent=1) + "\n")
        return 0
    table = Table("model", "here", "download", "services", "good for", "licence", "from")
    for one in entries:
        here = megabytes(store.size(one.name)) if store.present(one.name) else "–"
        own = one.source.kind == "file"
        load, origin = ("–", "you") if own else (f"{one.download_mb} MB", one.origin)
        cells = (one.name, here, load, ", ".join(_services(one)), one.good_for, one.licence, origin)
        table.add_row(*map(plain, cells))
    Console().print(table)
    sys.stdout.write(f"they lie in {line(cache_folder())}\n")
    return 0


def _about(one: Entry) -> dict[str, object]:
    here = store.present(one.name)
    return {
        "name": one.name,
        "present": here,
        "bytes": store.size(one.name),
        "download_mb": one.download_mb,
        "services": _services(one),
        "good_for": one.good_for,
        "licence": one.licence,
        "source": {one.source.kind: one.source.where},
        "version": one.version,
        "folder": str(known(one.name).folder),
        "sha256": known(one.name).sha256 if here else None,
        "files": {path: digest or None for path, digest in known(one.name).files.items()},
    }


def _services(one: Entry) -> list[str]:
    return [name for name, service in registry.SERVICES.items() if one.name in service.weights]


def _models(name: str) -> Sequence[str]:
    """A model, or those of a service. Raises `ConfigError`."""
    if name not in manifest() and name in registry.SERVICES:
        return registry.SERVICES[name].weights
    return (entry(name).name,)


def _pull(names: list[str], as_json: bool) -> int:
    if not names:
        raise ConfigError("which models? `windmill models ls` lists them; or all")
    if names == ["all"]:
        names = [one.name for one in manifest().values() if one.source.kind != "file"]
    wanted = [model for name in names for model in _models(name)]  # a slip of the pen is said at once
    return _tell([_fetched(name) for name in dict.fromkeys(wanted)], as_json)


def _fetched(name: str) -> _Outcome:
    try:
        return _Outcome(name, fetch(name))
    except ConfigError as exc:
        return _Outcome(name, None, (str(exc),))


def _path(names: list[str], as_json: bool) -> int:
    if len(names) != 1:
        raise ConfigError("the path of which model? Name one")
    (name,) = names
    if not store.present(name):
        raise ConfigError(f"{name}: not here; `windmill models pull {name}` fetches it")
    weights = known(name)
    path = str(weights.path() if len(weights.files) == 1 else weights.folder)
    sys.stdout.write((json.dumps({"path": path}) if as_json else path) + "\n")
    return 0


def _verify(names: list[str], as_json: bool) -> int:
    outcomes = [_verified(name) for name in names or manifest() if names or store.begun(name)]
    if not names and (derived := store.derived_problems()):
        outcomes.append(_Outcome("derived", None, tuple(derived)))
    return _tell(outcomes, as_json)


def _verified(name: str) -> _Outcome:
    found = store.problems(name)
    return _Outcome(name, None if found else known(name), tuple(found))


def _add(names: list[str], as_json: bool) -> int:
    if len(names) != 2:
        raise ConfigError("which file for which model? add NAME PATH")
    name, path = names
    return _tell([_Outcome(name, store.add(name, Path(path)))], as_json)


def _tell(outcomes: list[_Outcome], as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps([one.document() for one in outcomes], indent=1) + "\n")
    for one in outcomes:
        if one.weights and not as_json:
            size = megabytes(store.size(one.name))
            sys.stdout.write(line(f"{one.name}: {size} in {one.weights.folder}") + "\n")
        for problem in one.problems:
            sys.stderr.write(f"windmill models: {line(problem)}\n")
    return 1 if any(one.problems for one in outcomes) else 0


def megabytes(size: int) -> str:
    """`7.7 MB`; less than a tenth still says that something is there."""
    return f"{max(0.1, size / 1e6):,.1f} MB"


Action = Callable[[list[str], bool], int]
ACTIONS: dict[str, Action] = {"ls": _list, "pull": _pull, "path": _path, "verify": _verify, "add": _add}
