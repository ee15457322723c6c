"""Kills a process at each step that it takes in the file system: `python -m tests.killing PREFIX WHAT`.

WHAT is `merge` or `upsert`, done to copies of the index at PREFIX, in a child that is killed before its
first, second, … step (a file created, renamed or deleted), until one child gets to its end. After each death
the index is looked at as a user would, and the work is done again. Writes, for each death, what was found.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import numpy as np

from windmill.index.files import merge, open_index, verify
from windmill.index.vectors import Vectors

STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


class Silent:
    def update(self, done, total=None):
        """Nobody looks."""


def added():
    """What `upsert` adds: an image that is new, and one that replaces another."""
    ids = np.array([5, 5000], np.int64)
    return Vectors(ids=ids, paths=["/new/5.jpg", "/new/5000.jpg"], embeddings=np.eye(2, 8, dtype=np.float32))


def act(what, prefix):
    if what == "merge":
        merge(prefix, Silent())
    else:
        open_index(prefix).upsert(added())


def die_before(step):
    """Has this process die before its step number `step`."""
    left = step

    def count(event, arguments):
        nonlocal left
        if event not in STEPS or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def die_before_call(owner, name, count):
    """Has this process die before the call number `count` of a function of `owner`."""
    really, calls = getattr(owner, name), []

    def counted(*args, **options):
        calls.append(args)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return really(*args, **options)

    setattr(owner, name, counted)


def state(prefix):
    """All that an index holds, as JSON can say it."""
    rows = [
        (int(n), path, vector.tolist())
        for part in open_index(prefix).scan()
        for n, path, vector in zip(part.ids, part.paths, part.embeddings, strict=True)
    ]
    drift = [one.what for one in verify(prefix, Silent())]
    return {"rows": rows, "count": open_index(prefix).count(), "drift": drift}


def told(what, prefix):
    """Writes what a death left, and what there is once the work was done again."""
    before = state(prefix)
    act(what, prefix)
    sys.stdout.write(json.dumps([before, state(prefix)]) + "\n")
    sys.stdout.flush()


def dying(what, prefix, step):
    """Does it, and dies of it."""
    die_before(step)
    act(what, prefix)


def in_child(work, *arguments):
    """The exit status of a child that does `work`."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(*arguments)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(original, what):
    for step in range(1, 1000):
        copy = original.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in original.parent.glob(f"{original.name}*"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / path.name)
        prefix = copy / original.name
        died = in_child(dying, what, prefix, step) == -signal.SIGKILL
        if in_child(told, what, prefix):
            raise SystemExit(f"after a death before step {step}: see above")
        if not died:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
