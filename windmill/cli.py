"""The `windmill` command: a table of subcommands, and what a person sees when one of them fails."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from windmill import lifeline, log, settings
from windmill.errors import ChildDiedError, ConfigError, WindmillError
from windmill.plain import block, line

# Each command, of one word or two, is a module of `windmill.commands` (its words joined by _), imported when
# used: no command pays for another.
COMMANDS = {
    "demo": "the whole pipeline on a few photos, with nothing to set up",
    "run": "the whole pipeline on a folder of your own, with nothing to set up",
    "ingest": "fill the table of images from a folder, a CSV file or standard input",
    "produce": "send images to the services' queues (also: producer.py)",
    "search": "find images by words, by an image, or by one that is in the index",
    "why": "what happened to one image, what it waits for, and why its boxes stand",
    "show": "draw one image with its boxes",
    "reconcile": "find what the queues lost, and send exactly that again",
    "rerun": "send images to a service again: stale results, failures, or a group",
    "dead": "jobs that were given up: list, show, replay, drop",
    "work": "run one worker (also: workers/*.py)",
    "workers": "start and stop this box's workers (also: workers.sh)",
    "monitor": "who works, who is silent, what is queued (also: monitor_workers.py)",
    "web": "the search page and its API, over an index",
    "serve": "serve reference ML services over HTTP",
    "services": "check whether a service keeps the contract",
    "eval services": "how well services do on photos of which the truth is known",
    "eval boxes": "how good merged boxes are where the truth is known",
    "eval votes": "how good consensus labels are, by each rule and by each voter alone",
    "eval search": "how often words find their photo, and how often nothing is said to fit",
    "calibrate": "learn how right voters are, for the calibrated consensus",
    "index build": "embed the images of a folder into an index, to search in",
    "index merge": "merge an index's segments into one sorted file and one FAISS index",
    "index verify": "find any drift between an index's vectors, ids and metadata",
    "index load": "bring an index into another store: Milvus, pgvector, files",
    "index delete": "take images out of an index",
    "models": "the services' weights: list, pull, path, verify, add",
    "schema": "create or update the tables in PostgreSQL",
}
_HELP = {"-h", "--help", "help"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 1 done but something failed, 2 cannot work, 130 interrupted."""
    lifeline.follow_parent()
    argv = sys.argv[1:] if argv is None else argv
    words = next((n for n in (2, 1) if " ".join(argv[:n]) in COMMANDS), 0)
    if not words:
        return _overview(argv)
    command = " ".join(argv[:words])
    try:
        return _run(command, argv[words:])
    except WindmillError as error:
        told = block(error) if isinstance(error, ChildDiedError) else line(error)
        sys.stderr.write(f"windmill {command}: {told}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        sys.stderr.write(f"windmill {command}: interrupted\n")
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 0
    finally:
        logging.shutdown()


def _run(command: str, argv: Sequence[str]) -> int:
    module = importlib.import_module(f"windmill.commands.{command.replace(' ', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"windmill {command}",
        description=module.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_intermixed_args(argv)
    config = settings.load()
    log.configure(config.log_level, command)
    return int(module.run(args, config))


def _overview(argv: Sequence[str]) -> int:
    """Says which commands there are, or those that begin with this word; a mistake, unless asked for."""
    command = argv[0] if argv else ""
    family = {name: summary for name, summary in COMMANDS.items() if name.startswith(f"{command} ")}
    wanted = not _HELP.isdisjoint(argv[: 2 if family else 1])
    if command and not wanted:
        sys.stderr.write(f"windmill: no such command: {line(' '.join(argv[:2] if family else argv[:1]))}\n\n")
    rows = "\n".join(f"  {name:<14} {summary}" for name, summary in (family or COMMANDS).items())
    text = f"usage: windmill COMMAND [-h] …\n\n{rows}\n\nwindmill COMMAND --help says more.\n"
    (sys.stdout if wanted else sys.stderr).write(text)
    return 0 if wanted else 2
