"""The embedding index: vectors of images on the same image ids, and search in them.

An index is what lies at a prefix: immutable segments, and what they were merged into (docs/search.md). The
pipeline never imports it. It needs the extra `[index]`.
"""
