"""An index as files at a prefix: segments, and what they are merged into."""

from windmill.index.files.merging import Merged, merge
from windmill.index.files.store import FaissFiles, create, open_index

__all__ = ["FaissFiles", "Merged", "create", "merge", "open_index"]
