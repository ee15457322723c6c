"""Sends images to the queues of the services. See `producer.py --help`."""

import sys

from windmill.cli import main

sys.exit(main(["produce", *sys.argv[1:]]))
