"""Records a finished dialogue that is dropped, such as a near-duplicate, as an unusable draw of one of its stages."""

from __future__ import annotations

import json
from collections.abc import Sequence

from consistent_chat.dialogue.parse import Reason
from consistent_chat.dialogue.work import ALTERNATIVE, JUDGE, Bill, Dialogue, FailedDraw
from consistent_chat.prices import NO_TOKENS, Tokens, counted

ROLES = {"skeleton": "user", "answers": "assistant"}
"""The stages for whose messages a dialogue can be dropped, with their roles."""


def dropped(
    dialogue: Dialogue, stage: str, key: str, reason: Reason, detail: str, messages: Sequence[str]
) -> FailedDraw:
    """Return the unusable draw, with the messages of its stage and the billed tokens of the dialogue by model.

    The tokens of earlier unusable draws are not included.
    """
    draw = sum(one.spec == dialogue.spec and one.stage == stage for one in dialogue.failed)
    said = {f"{ROLES[stage]}_{turn}": text for turn, text in enumerate(messages, 1)}
    rest = _rest(dialogue)
    own = stage if any(dialogue.billed_users) else "answers"  # without a user_model, one model writes both sides
    tokens = next(tokens for name, _, tokens in rest if name == own)
    others = tuple(one for one in rest if one[0] != own and any(one[2]))
    response = counted(json.dumps(said, ensure_ascii=False), tokens)
    return FailedDraw(dialogue.spec, stage, draw, key, reason, detail, response, others=others)


def _rest(dialogue: Dialogue) -> list[tuple[str, str, Tokens]]:
    """Return the billed tokens of a dialogue, except those of its unusable draws, as (stage, model, tokens)."""
    (written, judged), users = dialogue.billed, dialogue.billed_users
    known = Bill(has_user_model=any(users))
    for draw in dialogue.failed:
        known.add_draw(draw)
    judges = [(model, tokens.minus(known.by_judge.get(model, NO_TOKENS))) for model, tokens in dialogue.billed_judges]
    others = dialogue.billed_alternatives
    return [
        ("answers", "", written.minus(known.written)),
        ("skeleton", "", users.minus(known.users)),
        *((JUDGE, model, tokens) for model, tokens in judges or [("", judged.minus(known.judged))]),
        *((ALTERNATIVE, model, tokens.minus(known.alternatives.get(model, NO_TOKENS))) for model, tokens in others),
    ]
