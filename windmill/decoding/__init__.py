"""Decoding what strangers send, in processes of its own (docs/adr/0010-decoders-are-processes.md)."""
