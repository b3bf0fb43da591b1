"""Makes one dialogue: prompts, requests, parsing and checking of responses. No network, clock, file or store.

at_once.py   the generator: one request for all user messages, another for all answers; applies a review
by_turns.py     the generator: one request per message, each read from a raw response
skeleton.py  all user messages in one request, for both
work.py      what both share: asking until a response is usable, the judge, counts and bill, the dialogue
parse.py     reads messages from a raw response, or gives the reason why it is unusable
reasoning.py extracts a model's reasoning
judge.py     the scores and reasons of judges
prompts/     the texts of the requests
checks/      what a message must not contain
"""

from consistent_chat.dialogue.at_once import fill
from consistent_chat.dialogue.work import Dialogue, FailedDraw

__all__ = ["Dialogue", "FailedDraw", "fill"]
