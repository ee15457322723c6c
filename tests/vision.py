"""An endpoint like OpenAI's, over real HTTP, that says of each picture what it is told to."""

import json
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CAPTION = "A dog chases a frisbee."


def completion(text, **choice):
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop", **choice}]}


@dataclass
class Endpoint:
    """What it answers: a status and a body; `asked` holds the questions."""

    models: tuple = (200, {"data": [{"id": "seer:latest", "created": 1700000000}]})
    said: tuple = (200, completion(CAPTION))
    asked: list = field(default_factory=list)
    together: threading.Barrier | None = None
    url: str = ""


@contextmanager
def endpoint_serving(endpoint):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(*endpoint.models)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.asked.append((self.path, dict(self.headers), json.loads(body)))
            if endpoint.together:
                with suppress(threading.BrokenBarrierError):
                    endpoint.together.wait(10)
            self.answer(*endpoint.said)

        def answer(self, status, said):
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
