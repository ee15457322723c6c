"""Detectors whose worth is made up, for tests that need some."""

from __future__ import annotations

from windmill.model import Detector, Detectors

AVERAGE = Detectors(
    bias=1.0,
    agreement=1.2,
    overlap=-5.0,
    average=Detector(right=-0.8, slope=0.9, place=0.0, place_slope=0.5, silent=-0.4, count=0),
    known={},
)
