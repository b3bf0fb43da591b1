"""Has a model write more of a taxonomy: `consistent-chat grow`.

entries.py  one new entry: what of a model's text is taken, and what is there already
tasks.py    what is asked for, as generators of requests like those of dialogues; *.txt are the prompts
growth.py   runs the tasks with a response store and a serving, and writes the file
"""

from consistent_chat.commands.grow.growth import Growth, estimate, grow

__all__ = ["Growth", "estimate", "grow"]
