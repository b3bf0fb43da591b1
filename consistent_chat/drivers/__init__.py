"""Drivers run dialogues: each feeds the same generators, from the store alone or with calls to a serving."""

from consistent_chat.drivers.batch import BatchOptions, fill
from consistent_chat.drivers.batch_poll import BatchProgress
from consistent_chat.drivers.budget import Usage
from consistent_chat.drivers.limits import Limits
from consistent_chat.drivers.replay import PendingRequests, PlanSlice
from consistent_chat.drivers.run import run
from consistent_chat.drivers.stats import RunStats

__all__ = [
    "BatchOptions",
    "BatchProgress",
    "Limits",
    "PendingRequests",
    "PlanSlice",
    "RunStats",
    "Usage",
    "fill",
    "run",
]
