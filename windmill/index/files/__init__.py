"""An index as files at a prefix: segments, and what they are merged into."""

from windmill.index.files.merging import Merged, merge
from windmill.index.files.store import FaissFiles, create, open_index
from windmill.index.files.verifying import Drift, repair, verify

__all__ = ["Drift", "FaissFiles", "Merged", "create", "merge", "open_index", "repair", "verify"]
