"""Reference ML services over HTTP, from the extra `[services]`. The pipeline never imports them."""
