"""The web app, from the extra `[web]`: the search page, and the API beside it."""
