"""Asks a service, ours or anybody's, for all that `docs/service-api.md` promises."""
