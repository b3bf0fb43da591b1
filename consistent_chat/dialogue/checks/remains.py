"""Checks for remains of the prompt's format: JSON, escapes, tags, numbers, unfilled placeholders.

Each check first searches quickly for a sign that good messages lack, and applies a regex only to messages with that
sign.
"""

from __future__ import annotations

import re

from consistent_chat.dialogue.checks.side import BOUNDARY, END, START, Side
from consistent_chat.dialogue.parse import Reason

SHORT = 30
"""Maximum characters of a message that is only a placeholder, such as "TODO" or "string"."""
NUMBER = re.compile(
    r"[ \t*_#(\[]{0,4}(?P<label>(?:user |assistant )?(?:message|turn|query|prompt|answer|response|nachricht|messaggio"
    r"|mensaje"
    r"|antwort|respuesta|risposta|réponse|resposta|mensagem|ответ|сообщение)\b ?#?)?(?P<question>question|frage"
    r"|pregunta"
    r"|domanda|pergunta|вопрос|q)? ?(?P<number>\d{1,2})?[*_\])]{0,2} ?(?P<end>[.):：、])",
    re.IGNORECASE,
)
SIGNS = {
    "blank": rf"[\[{{<]|{START}lorem",
    "stand_in": rf"{BOUNDARY}(?:todo|tbd|string|insert|lorem|(?:answer|message|text|response|goes)[^a-z0-9])",
    "leftover": rf'[\\{{}}&<]|"\s*[:\]]|\[\s*[\["]|{START}\s*"?[,\]]',
    "turn_key": (
        rf'{BOUNDARY}(?:user|assistant|human|bot|system)_\pN+"?[\s\pZ\x1c-\x1f\x{{85}}]*:'
        rf"|{START}[^a-z0-9_]*(?:user|assistant)_\pN+[^a-z0-9_]*{END}"
    ),
}
"""RE2 patterns for the checks, in lower case."""


def leftovers(side: Side) -> None:
    """Raise Unusable if a message has remains of JSON, escapes, entities or tags, except in talk about code."""
    is_code, may_have_keys = None, "turn_key" in side.signs
    for number, text in enumerate(side.messages):
        match = _TURN_KEYS(text) if may_have_keys and "_" in text else None
        if match:
            raise side.unusable(number, Reason.LEFTOVERS, f"has remains of JSON: {match[0][:40]!r}")
        if "<" in text and _TAGS(_without_code(text)):
            raise side.unusable(number, Reason.LEFTOVERS, "has tags that belong to a model's output format")
        if _has_escapes(text) or _has_keys(text):
            is_code = _ABOUT_CODE("\n".join(side.asked).lower()) if is_code is None else is_code
            if not is_code:
                raise side.unusable(number, Reason.LEFTOVERS, "has remains of JSON, escapes or entities")


def _has_escapes(text: str) -> bool:
    return ("\\" in text or "&" in text) and _REMAINS(_without_code(text)) is not None


def _has_keys(text: str) -> bool:
    """Return whether a text has keys of JSON between its quotation marks, is JSON, or begins within JSON."""
    is_odd = text.lstrip()[:1] in _EDGES
    if is_odd and _WHOLE(text):
        return True
    return (is_odd or '"' in text) and bool(_ENDS(text) or _BEGINS(text)) and bool(_KEYS(text) or _FIRST_KEY(text))


def _without_code(text: str) -> str:
    return _CODE.sub(" ", text) if "`" in text else text


def numbered(side: Side) -> None:
    """Raise Unusable if messages begin with their numbers or a message label, except in a quiz or steps."""
    marks = [NUMBER.match(text) for text in side.messages]
    own = [at for at, mark in enumerate(marks) if mark and mark["number"] and int(mark["number"]) == at + 1]
    labelled = [at for at, mark in enumerate(marks) if mark and mark["label"]]
    found = own if len(own) > 1 and 2 * len(own) >= len(marks) else labelled if len(labelled) > 1 else []
    found = [at for at in found if not _NEXT_ITEM(side.messages[at])]
    is_series = side.role == "assistant" and not labelled and _SERIES("\n".join(side.asked).lower())
    if len(found) > 1 and not is_series:
        raise side.unusable(found[0], Reason.NUMBERED, "and other messages begin with their numbers")


def placeholder(side: Side) -> None:
    """Raise Unusable if a message has an unfilled placeholder, except in a requested form or letter."""
    may = None
    if "blank" not in side.signs and ("stand_in" not in side.signs or min(map(len, side.messages)) > SHORT):
        return
    for number, text in enumerate(side.messages):
        if len(text) > SHORT and not text.startswith("Lorem") and not _BRACKET(text):
            continue
        said = side.prose(number)
        if _DUMMY(said):
            raise side.unusable(number, Reason.PLACEHOLDER, f"is only a placeholder: {text[:40]!r}")
        if match := _BLANK(said):
            may = _ABOUT_FORMS("\n".join(side.asked).lower()) if may is None and side.role == "assistant" else may
            if not (may or (side.role == "assistant" and "\n" in text.strip())):
                raise side.unusable(number, Reason.PLACEHOLDER, f"has an unfilled placeholder: {match[0][:40]!r}")


_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


_TURN_KEYS = re.compile(r'"?\b(?:user|assistant|human|bot|system)_\d+"?\s*:|\A\W*(?:user|assistant)_\d+\W*\Z').search


_EDGES = ",}][{`"


_ENDS = re.compile(r'"\s*[:}\],]').search


_BEGINS = re.compile(r"\W{0,4}[{,\]}]").match


_KEYS = re.compile(
    r'"(?:\s*,\s*"\w{1,40}"\s*:|role"\s*:\s*"|(?<=[^\s{\[]")\s*[}\]]+\s*\Z(?<!\}\})|\s*\}\s*,\s*\{\s*")'
).search


_FIRST_KEY = re.compile(
    r'\s*"?[,}\]]\s*[{"]|\s*(?:```(?:json)?\s*)?\{\s*"(?:response|answer|message|text|content|assistant|user)'
    r'(?:_\d+)?"\s*:'
).match


_TAGS = re.compile(
    r"</?(?:think|thinking|thought|answer|response|reasoning|analysis|scratchpad|tool_call|assistant|user|reflection)>"
    r"|<\|[a-z_]{1,30}\|>",
    re.IGNORECASE,
).search


_REMAINS = re.compile(
    r"[.!?:;,)]\\n|\\n\\n|\\u[0-9a-fA-F]{4}|&(?:amp|quot|lt|gt|nbsp|apos|#\d{1,6}|\w{1,8}(?:acute|grave|uml|circ|cedil"
    r"|tilde));"
).search


_WHOLE = re.compile(r'\s*(?:```(?:json)?\s*)?[\[{]\s*[\[{"].*[\]}]\s*(?:```)?\s*', re.DOTALL).fullmatch


_ABOUT_CODE = re.compile(
    r"json|html|xml|\bcode|\bc\b|python|java|escap|entit|regex|script|print|string|\byaml|\bapi\b|\blist\b|dict|format"
    r"|schema|latex"
    r"|\\|\{|&\w+;|```"
).search


_NEXT_ITEM = re.compile(r"\s\(?[2-9][.)] ").search


_SERIES = re.compile(
    r"quiz|number|steps?\b|question \d|exam|one at a time|list|prüfung|schritt|nummer|examen|étape|número|paso|游戏"
    r"|考试|クイズ"
).search


_BRACKET = re.compile(r"[\[{<]").search


_DUMMY = re.compile(
    r"\W*(?:string|your (?:answer|message|text|response) here|text goes here|todo|tbd)\W*\Z|lorem ipsum"
    r"|[\[(<]\s*(?:insert\b|[\w ]{1,30} goes here)[^\])>]{0,60}[\])>]"
).match


_SLOTS = (
    r"name|date|time|address|number|company|city|country|product|amount|price|e-?mail|phone|link|url|title|topic|order"
    r"|item"
    r"|location|place|recipe|player|team|day|hour|street|job|position|subject|person|brand|model|nombre|fecha|hora"
    r"|dirección"
    r"|empresa|ciudad|nom|adresse|ville|heure|prénom|datum|firma|stadt|uhrzeit|ort|nome|indirizzo|città|data|cidade"
    r"|endereço"
    r"|имя|дата|адрес|город|姓名|名字|日期|地址|公司|名前|住所|日付|이름|주소|날짜"
)


_OWN = r"your|my|ihr|ihre|dein|deine|tu|su|votre|ton|il tuo|seu|ваш|您的|你的|あなたの|당신의|insert"


_PART = r"[^\[\]{}<>()\n]"


_INSIDE = (
    rf"(?:(?:{_OWN}) ?{_PART}{{1,40}}|{_PART}{{0,24}}\b(?:{_SLOTS})\b{_PART}{{0,24}}"
    rf"|{_PART}{{0,8}}(?:姓名|名字|日期|地址|名前|住所){_PART}{{0,8}})"
)


_BLANK = re.compile(rf"\[{_INSIDE}\](?!\()|\{{\{{?{_INSIDE}\}}?\}}|<{_INSIDE}>").search


_ABOUT_FORMS = re.compile(
    r"letter|mail|message|template|draft|\bnote\b|form\b|script|write|text|sign-?up|sheet|invit|speech|brief|vorlage"
    r"|muster|schreib"
    r"|anschreiben|nachricht|formular|carta|correo|plantilla|escrib|modelo|lettre|modèle|écri|courrier|rédig|lettera"
    r"|scriv"
    r"|письм|шаблон|信|邮件|模板|写|メール|手紙|テンプレート|書|f-string|variable|code|html"
).search
