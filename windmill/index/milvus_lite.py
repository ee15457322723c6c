"""Milvus Lite: Milvus' protocol in this process, over a folder whose name ends with .db."""

from __future__ import annotations

from pathlib import Path

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

from windmill.errors import ConfigError, IndexDamaged, StoreUnavailable


class Lite:
    """A server on loopback that this process keeps running, at `uri`.

    pymilvus would start one by itself; but then what went wrong would be in a log only, and nothing would end
    it. Unless it may `begin`, the file must be there. Raises `ConfigError`, `StoreUnavailable`,
    `IndexDamaged`.
    """

    def __init__(self, file: str, *, begin: bool) -> None:
        path = Path(file).absolute()
        if not begin and not path.exists():
            raise ConfigError(
                f"milvus:{file}: no index there; windmill index load PREFIX --store milvus:{file} fills one"
            )
        if path.exists() and not path.is_dir():
            raise ConfigError(f"milvus:{file}: not of Milvus Lite 3, whose files are folders")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._server, self._db, port = start_server_in_thread(str(path), host="127.0.0.1", port=0)
        except DataDirLockedError as exc:
            raise StoreUnavailable(
                f"milvus:{file}: something else has it open, and Milvus Lite serves one process at a time;"
                " end that, or run a Milvus server"
            ) from exc
        except MilvusLiteError as exc:
            raise IndexDamaged(f"milvus:{file}: {exc}") from exc
        except OSError as exc:
            raise ConfigError(f"milvus:{file}: cannot be used: {exc.strerror or exc}") from exc
        self.uri = f"http://127.0.0.1:{port}"

    def close(self) -> None:
        """What is in memory is on the disk after that."""
        self._server.stop(grace=2).wait()
        self._db.close()
