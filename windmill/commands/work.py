"""`windmill work`: one worker, until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading

from windmill import wiring
from windmill.errors import ConfigError
from windmill.settings import Settings

log = logging.getLogger(__name__)

HELP = """\
Runs one worker: takes jobs off the queue of SERVICE, and stops when told to (SIGTERM, Ctrl-C) after
finishing what it has in hand, or giving it back.

SERVICE is a name in service_config.json: a service (blip, yolov8, …), whose worker sends images there, or a
stage of the pipeline (bbox_merger, consensus, bbox_colors, bbox_face, bbox_pose, caption_score).

  windmill work blip
  SERVICE_NAME=blip windmill work
  LOG_LEVEL=DEBUG windmill work consensus     every job in one line

Start as many as you like, on as many machines as you like; ./workers.sh keeps them running."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", help="the service or stage; SERVICE_NAME if left out")


def run(args: argparse.Namespace, settings: Settings) -> int:
    name = args.service or settings.service_name
    if not name:
        raise ConfigError("which service? Name it as argument, or set SERVICE_NAME")
    service = wiring.services(settings)[name]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with wiring.worker(service, settings, stop) as runner:
        log.info("%s works off %s", settings.worker_id_for(name), service.queue)
        unfinished = runner.run()
    log.info("stopped; %s", f"{unfinished} jobs went back to the queue" if unfinished else "nothing in hand")
    if unfinished:  # their threads still wait for a service, and would hold up the end
        logging.shutdown()
        os._exit(0)
    return 0
