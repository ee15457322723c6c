"""Over the queues and in this process, a model makes the same vectors."""

import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from windmill import wiring
from windmill.commands import queue_build
from windmill.engines.building import Plan
from windmill.engines.in_process import InProcess
from windmill.progress import Mute

SERVICE, WORKER = "label_embedding", "index_labels"


@contextmanager
def working(settings):
    """An index worker, in a thread."""
    stop = threading.Event()
    with wiring.worker(wiring.services(settings)[WORKER], settings, stop) as runner:
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)


def test_an_index_over_the_queues_has_the_vectors_of_one_made_here(served, database, tmp_path, shared_data):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((shared_data / "coco-photos").glob("*.jpg"))[:12]:
        shutil.copyfile(path, folder / path.name)
    catalog = tmp_path / "services.json"
    entry = {SERVICE: {"host": "127.0.0.1", "port": served.port(SERVICE)}}
    catalog.write_text(json.dumps(entry), "utf-8")
    prefix = tmp_path / "index" / "photos"
    settings = replace(database, service_config=catalog, index_prefix=str(prefix), index_segment_seconds=0.2)
    wanted = queue_build.Wanted(
        folder=str(folder), group="g", service=SERVICE, prefix=prefix, batch=8, workers=0
    )
    with working(settings):
        store = queue_build.index(wanted)
        plan = Plan(source=str(folder), service=SERVICE, batch=8)
        built = queue_build.engine(wanted, settings)(plan, store, Mute())
    assert (built.added, built.bad) == (12, ())

    model = InProcess(SERVICE)
    assert store.embedder == model.embedder
    seen = 0
    for part in store.scan():
        prepared = [model.prepared(path, Path(path).read_bytes()) for path in part.paths]
        for image_id, there, here in zip(part.ids, part.embeddings, model.vectors(prepared), strict=True):
            np.testing.assert_allclose(there, here, atol=2e-6)
            assert store.search(here, 1)[0].image_id == image_id
        seen += len(part)
    assert seen == 12
