"""`python -m windmill` is `windmill`."""

import sys

from windmill.cli import main

sys.exit(main())
