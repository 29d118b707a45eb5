"""A page to listen to events and correct them, and the sounds beside it."""

from desed_task.review.page import write_review
from desed_task.review.places import (
    DETECTED,
    POSSIBLY_MISSED,
    Audio,
    Kind,
    Place,
    choose_places,
)

__all__ = [
    "DETECTED",
    "POSSIBLY_MISSED",
    "Audio",
    "Kind",
    "Place",
    "choose_places",
    "write_review",
]
