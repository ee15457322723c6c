"""What the tool learns about detectors and voters from images of which the truth is known."""
