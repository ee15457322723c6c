"""clip-retrieval 2.x as its users search: `PYTHON clip_retrieval_queries.py FOLDER NEAREST`.

Of an environment that has it and not Windmill: its pins (pyarrow<16, numpy<2) and ours exclude each other.
Only what searches is imported; what embeds would ask for PyTorch and torchvision. FOLDER holds `embeddings`
as `clip-retrieval inference` writes them, and `queries.npy`. It says `ready`, and to each line a JSON object.
"""

import contextlib
import importlib.util
import json
import sys
import time
import types
from pathlib import Path


def main() -> None:
    folder, nearest = Path(sys.argv[1]), int(sys.argv[2])
    import faiss
    import numpy as np

    back, index = _parts()
    made = folder / "index"
    if not (made / "image.index").exists():
        made.mkdir()
        with contextlib.redirect_stdout(sys.stderr):
            index.clip_index(str(folder / "embeddings"), str(made))
    provider, _ = back.load_metadata_provider(str(made), False, False, None, ["image_path"], False)
    loaded = back.load_index(str(made / "image.index"), False)
    resource = types.SimpleNamespace(image_index=loaded, text_index=None, metadata_is_ordered_by_ivf=False,
                                     safety_model=None, violence_detector=None)  # fmt: skip
    service, queries = back.KnnService(clip_resources={}), np.load(folder / "queries.npy")
    print("ready", flush=True)
    for _ in sys.stdin:
        faiss.omp_set_num_threads(1)
        seconds, found = [], []
        for query in queries:
            began, by_cpu = time.perf_counter(), time.thread_time()
            scores, ids = service.knn_search(query[None], "image", nearest, resource, False, False, False)
            hits = service.map_to_metadata(ids, scores, nearest, provider, ["image_path"])
            seconds.append((time.perf_counter() - began, time.thread_time() - by_cpu))
            found.append([hit["id"] for hit in hits])
        print(json.dumps({"seconds": seconds, "ids": found}), flush=True)


def _parts():
    """Its modules that search and index, without the package's `__init__`, which imports all."""
    package = types.ModuleType("clip_retrieval")
    package.__path__ = list(importlib.util.find_spec("clip_retrieval").submodule_search_locations)
    sys.modules["clip_retrieval"] = package
    return importlib.import_module("clip_retrieval.clip_back"), importlib.import_module(
        "clip_retrieval.clip_index"
    )


if __name__ == "__main__":
    main()
