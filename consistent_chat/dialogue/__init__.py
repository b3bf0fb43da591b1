"""How one dialogue is made: prompts, requests, the parsing and checking of responses. No network, clock, file or store.

at_once.py  the generator: all user messages in one request, all answers in another
parse.py    from a raw response to messages, or the reason why it is unusable
reasoning.py  what the model thought before its answers
bill.py     what the responses of a dialogue are billed for
judge.py    what a judge's response says
prompts/    the texts of the requests
checks/     what a message must not contain
"""

from consistent_chat.dialogue.at_once import Dialogue, FailedDraw, fill

__all__ = ["Dialogue", "FailedDraw", "fill"]
