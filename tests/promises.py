"""What each service here must keep of the contract, by the checks of `windmill services check`."""

from windmill.checking import pictures, refusing, table

# Every request comes in by one door, whatever it is for (windmill/services/door.py): what only that
# does is asked of a detector, of what takes a text, and of what takes a caption.
ASKED_ALL = ("nanodet", "clip", "caption_score")
DOORS = {
    *("keep-alive", "older-endpoint", "url", "url-of-a-file", "file", "no-image", "no-caption"),
    *("truncated", "many-bytes", "many-pixels", "unknown-path", "other-method"),
    *(set(refusing.BAD) - {"not-an-image"}),
    *(set(pictures.ODD) - {"one-pixel", "one-row", "one-column"}),  # of which each model makes its own
}
# What a check may leave out, and why; anything else that is skipped would hide a broken promise.
NOT_HERE = (
    "only caption_score takes a caption",
    "it has no /embed/image",
    "its replies hold no boxes",
    "its replies say nothing of places",
    "only beside /v3/analyze",
)
CLASSIFIERS = ("clip", "xception")
BOXES = ("boxes-inside", "boxes-scale")


def asked(names):
    """The checks of each of these services, as pairs."""
    return [
        (name, check.name)
        for name in names
        for check in table.CHECKS
        if name in ASKED_ALL or check.name not in DOORS
    ]


def keeps(target, name):
    """That the service passes the check of this name, or that it is none of its affair."""
    (check,) = table.selected([name])
    result = table.made(check, target)
    if result.outcome == table.SKIPPED:
        without_boxes = target.service.name in CLASSIFIERS and name in BOXES
        assert without_boxes or result.said.startswith(NOT_HERE), result.said
        return
    assert result.outcome == table.PASSED, result.said
    if name in refusing.BAD:
        assert result.said == "refused with 400"
