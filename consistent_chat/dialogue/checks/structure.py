"""Checks of a message's form, which hold in every language: letters, brackets, numbers, loops, scripts.

Each looks first for a sign that good messages lack, which is quick, and applies a regex to the few that have it.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from consistent_chat.dialogue.checks.side import START, Side
from consistent_chat.dialogue.parse import Reason

PROBE = 10
"""Characters of a message that are looked for again in it."""
LEAST_LOOP = 30
"""Characters of a shorter message may repeat: "no no no no"."""
LOOPED = 0.4
"""The share of a message that loops."""
MOST_LOOKED_AT = 40
"""Runs of letters beyond ASCII in a message that are decoded again."""
MOST_SLIPS = 2
"""Words of another script in a user message that are a slip; with more of them a person mixes languages."""
LEAST_LETTERS = 25
"""Letters of a message that is judged by its vowels."""
VOWELS = 0.12
"""The least share of vowels among the Latin letters of what can be spoken."""


def no_words(side: Side) -> None:
    """Raise Unusable if a message has no letter, digit or symbol; a user may send marks alone ("?!"), not always."""
    empty = [number for number, text in enumerate(side.messages) if not _WORDY(text) and not _EMOTICON(text)]
    for number in empty:
        is_mark = side.role == "user" and _MARKS(side.messages[number])
        if not is_mark or 2 * len(empty) > len(side.messages):
            raise side.unusable(number, Reason.NO_WORDS, f"has no words: {side.messages[number][:20]!r}")


def garbled(side: Side) -> None:
    """Raise Unusable if a message was decoded wrongly, or is letters without words."""
    is_misread = "misread" in side.signs
    for number, text in enumerate(side.messages):
        if is_misread and ("\ufffd" in text or _is_mojibake(text)):
            raise side.unusable(number, Reason.GARBLED, "has characters of a wrong encoding")
        if 50 * text.count("e") < len(text) and text.isascii() and _is_unspeakable(text):
            raise side.unusable(number, Reason.GARBLED, f"is no language: {text[:40]!r}")


def _is_mojibake(text: str) -> bool:
    if not _MISREAD(text):
        return False
    if len(_MISREAD_EAST(text)) >= 3:
        return True
    runs = _BEYOND_ASCII(text)[:MOST_LOOKED_AT]
    return any(_decodes(run, "cp1252", 2) or _decodes(run, "cp1251", 4) for run in runs)


def _decodes(run: str, encoding: str, least: int) -> bool:
    """Tell whether a run of characters is UTF-8 that was read in another encoding; "O”" after a capital is not."""
    if len(run) < least or (len(run) == 2 and run[1] in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026"):
        return False
    try:
        return len(run.encode(encoding).decode("utf-8")) < len(run)
    except UnicodeError:
        return False


def _is_unspeakable(text: str) -> bool:
    """Tell whether a text of small letters has hardly a vowel."""
    if len(_VOWEL(text)) > VOWELS * len(text):
        return False
    letters = _SMALL(text)
    return len(letters) >= max(LEAST_LETTERS, len(text) // 2) and len(_VOWEL(text)) < VOWELS * len(letters)


def leftovers(side: Side, asked: Sequence[str]) -> None:
    """Raise Unusable if a message has remains of JSON, of escapes, entities or tags; talk of code may have them."""
    if "leftover" not in side.signs:
        return
    is_code = None
    for number, text in enumerate(side.messages):
        body = _CODE.sub(" ", text) if "`" in text else text
        match = _TURN_KEYS(text) if "_" in text else None
        if match:
            raise side.unusable(number, Reason.LEFTOVERS, f"has remains of JSON: {match[0][:40]!r}")
        if "<" in body and _TAGS(body):
            raise side.unusable(number, Reason.LEFTOVERS, "has tags of a model's output")
        has_remains = ("\\" in body or "&" in body) and _REMAINS(body)
        if has_remains or (_QUOTED(text) and _KEYS(text)) or _WHOLE(text):
            is_code = _ABOUT_CODE("\n".join(asked).lower()) if is_code is None else is_code
            if not is_code:
                raise side.unusable(number, Reason.LEFTOVERS, "has remains of JSON, escapes or entities")


def numbered(side: Side, asked: Sequence[str]) -> None:
    """Raise Unusable if messages begin with their numbers, or with a label of a message; a quiz and steps may."""
    if "marked" not in side.signs:
        return
    marks = [NUMBER.match(text) for text in side.messages]
    own = [at for at, mark in enumerate(marks) if mark and mark["number"] and int(mark["number"]) == at + 1]
    labelled = [at for at, mark in enumerate(marks) if mark and mark["label"]]
    found = own if len(own) > 1 and 2 * len(own) >= len(marks) else labelled if len(labelled) > 1 else []
    found = [at for at in found if not _NEXT_ITEM(side.messages[at])]
    is_series = side.role == "assistant" and not labelled and _SERIES("\n".join(asked).lower())
    if len(found) > 1 and not is_series:
        raise side.unusable(found[0], Reason.NUMBERED, "and others begin with their number")


def loops(side: Side, copies: int, asked: Sequence[str]) -> None:
    """Raise Unusable if much of a message is a piece that comes again and again."""
    for number, text in enumerate(side.messages):
        length = len(text)
        if length < LEAST_LOOP:
            continue
        size = PROBE if text.isascii() else PROBE // 2
        tail, middle = text[-size - 4 : -4], text[length // 2 : length // 2 + size]
        if text.count(tail) >= copies or text.count(middle) >= copies:
            said = side.prose(number)
            is_asked = side.role == "assistant" and _TIMES(asked[number].lower()) if number < len(asked) else None
            if not is_asked and any(_is_loop(said, probe.lower(), copies) for probe in (tail, middle)):
                raise side.unusable(number, Reason.LOOPS, f"repeats itself: {text[-40:]!r}")


def _is_loop(text: str, probe: str, copies: int) -> bool:
    """Tell whether the pieces between the places of a probe are the same, but for numbers, in much of a text."""
    pieces = text.split(probe)
    inner = Counter(_DIGITS.sub("", piece) for piece in pieces[1:-1])
    if not inner:
        return False
    piece, count = inner.most_common(1)[0]
    unit = probe + piece
    has_letters = any(character.isalpha() for character in unit)
    return has_letters and count + 1 >= copies and (count + 1) * len(unit) >= LOOPED * len(text)


def placeholder(side: Side, asked: Sequence[str]) -> None:
    """Raise Unusable if a message has a blank that was never filled in; a form or letter that was asked for may."""
    may = None
    if "blank" not in side.signs and min(map(len, side.messages)) > LEAST_LOOP:
        return
    for number, text in enumerate(side.messages):
        if len(text) > LEAST_LOOP and not text.startswith("Lorem") and not _BRACKET(text):
            continue
        said = side.prose(number)
        if _DUMMY(said):
            raise side.unusable(number, Reason.PLACEHOLDER, f"is a stand-in: {text[:40]!r}")
        if match := _BLANK(said):
            may = _ABOUT_FORMS("\n".join(asked).lower()) if may is None and side.role == "assistant" else may
            if not (may or (side.role == "assistant" and "\n" in text.strip())):
                raise side.unusable(number, Reason.PLACEHOLDER, f"has a blank: {match[0][:40]!r}")


def foreign_script(side: Side, asked: Sequence[str]) -> None:
    """Raise Unusable if words of another script stand in the middle of a sentence, unexplained."""
    if side.is_ascii:
        return
    for number, text in enumerate(side.messages):
        if text.isascii() or not _BEYOND_LATIN(text) or not (own := _own_script(text)):
            continue
        runs = list(itertools.islice(_RUNS[own](text), MOST_LOOKED_AT))
        if side.role == "user" and (len(runs) > MOST_SLIPS or _ABOUT_WORDS(text.lower())):
            continue  # a person who mixes languages, or asks about one
        if not runs:
            continue
        said = "\n".join([*asked[:number], *asked[number + (side.role == "user") : number + 1]])
        if _ABOUT_WORDS(said.lower()):
            continue
        for match in runs:
            if not _is_explained(text, match) and not any(letter in said for letter in match[0][:MOST_LOOKED_AT]):
                raise side.unusable(number, Reason.FOREIGN_SCRIPT, f"has words of another script: {match[0][:20]!r}")


def _own_script(text: str) -> str:
    """Return the script of most of a text's letters, if there is a rule for it."""
    counts = {name: sum(map(len, find(text))) for name, find in _SCRIPTS.items()}
    name = max(counts, key=counts.__getitem__)
    return name if name in _RUNS and 2 * counts[name] > sum(counts.values()) else ""


def _is_explained(text: str, match: re.Match[str]) -> bool:
    """Tell whether words are quoted, in brackets, or at an end of the line."""
    before = text[max(0, match.start() - PROBE) : match.start()].rpartition("\n")[2].rstrip(" ")
    after = text[match.end() : match.end() + PROBE].partition("\n")[0].lstrip(" ")
    return not before or not after or before[-1] in _OPENERS or after[0] in _CLOSERS


SIGNS = {
    "blank": rf"[\[{{<]|{START}lorem",
    "leftover": rf'[\\{{}}&<]|"\s*[:\]]|_[1-9]|\[\s*[\["]|{START}\s*"?[,\]]',
    "misread": (
        "\ufffd|[\u00e2-\u00e9\u00f0\u00f1]['\u0080-\u00bf\u00ff\u0153\u0161\u017e\u0192\u02c6\u02dc\u2018-\u2030\u2039\u203a"
        "\u20ac\u2122]|[\u0432\u0440\u0441]['\u0080-\u00bf\u0452-\u045f\u0491\u2018-\u203a\u20ac\u2116\u2122]"
    ),
}
"""Patterns of RE2 of what the checks look for, in lower case."""
_WORDY = re.compile(r"[^\W_]|[\u2190-\u2bff\u20a0-\u20cf\U0001f000-\U0001faff+=%]").search
_EMOTICON = re.compile(r"\s*(?:[:;=8][-'^]?[()\[\]/\\|*<>]|<3+|\^_?\^|[(][;:])\s*").fullmatch
_MARKS = re.compile(r"[?!.\u2026\u061f\uff1f\uff01 ]{1,6}").fullmatch
_MISREAD = re.compile(
    r"[\u00c2\u00c3\u00d0\u00d1\u00e2-\u00e9][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u2018-\u2030\u2039\u203a\u20ac\u2122]|[\u0420\u0421\u0432][\u0080-\u00bf\u0402-\u040f\u0452-\u045f\u0490\u0491"
    r"\u2018-\u203a\u20ac\u2116\u2122]"
).search
_MISREAD_EAST = re.compile(
    r"[\u00e3-\u00e9][\u0080-\u009f\u00a1-\u00aa\u00ac-\u00ba\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u201a\u201e\u2020-\u2022\u2030\u20ac\u2122]|[\u00e3]\u20ac"
).findall
_BEYOND_LATIN = re.compile(r"[\u0400-\u1dff\u3040-\ud7af]").search
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]{2,}").findall
_VOWEL = re.compile(r"[aeiouyw]", re.IGNORECASE).findall
_SMALL = re.compile(r"[a-z]").findall
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_TURN_KEYS = re.compile(r'"?\b(?:user|assistant|human|bot|system)_\d+"?\s*:|\A\W*(?:user|assistant)_\d+\W*\Z').search
_QUOTED = re.compile(r'"\s*[:}\],]|\A\W{0,4}[{,\]}]').search
_KEYS = re.compile(
    r'"\s*,\s*"\w{1,40}"\s*:|\A\s*"?[,}\]]\s*[{"]|"role"\s*:\s*"|[^\s{\[]"\s*[}\]]+\s*\Z(?<!\}\})'
    r'|\A\s*(?:```(?:json)?\s*)?\{\s*"(?:response|answer'
    r'|message|text|content|assistant|user)(?:_\d+)?"\s*:|"\s*\}\s*,\s*\{\s*"'
).search
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
NUMBER = re.compile(
    r"[ \t*_#(\[]{0,4}(?P<label>(?:user |assistant )?(?:message|turn|query|prompt|answer|response|nachricht|messaggio"
    r"|mensaje"
    r"|antwort|respuesta|risposta|réponse|resposta|mensagem|ответ|сообщение)\b ?#?)?(?P<question>question|frage"
    r"|pregunta"
    r"|domanda|pergunta|вопрос|q)? ?(?P<number>\d{1,2})?[*_\])]{0,2} ?(?P<end>[.):：、])",
    re.IGNORECASE,
)
_NEXT_ITEM = re.compile(r"\s\(?[2-9][.)] ").search
_SERIES = re.compile(
    r"quiz|number|steps?\b|question \d|exam|one at a time|list|prüfung|schritt|nummer|examen|étape|número|paso|游戏"
    r"|考试|クイズ"
).search
_TIMES = re.compile(
    r"\d+ ?(?:times|mal|veces|fois|volte|vezes|раз|遍|次|回)|\b(?:repeat|times|refrain|chorus|song|chant)\b"
).search
_DIGITS = re.compile(r"\d+")
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
_SCRIPTS = {
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+").findall,
    "cyrillic": re.compile(r"[\u0400-\u04ff]+").findall,
    "east": re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+").findall,
    "hangul": re.compile(r"[\uac00-\ud7af]+").findall,
    "arabic": re.compile(r"[\u0600-\u06ff]+").findall,
    "other": re.compile(r"[\u0370-\u03ff\u0530-\u05ff\u0900-\u109f\u1780-\u17ff]+").findall,
}
_EAST = r"[\u3040-\u30ff\u3400-\u9fff]+"
_WORDS = r"[\u0400-\u04ff]{2,}|[\u0590-\u06ff]{2,}|[\u0900-\u0e7f]{2,}|[\uac00-\ud7af]+"
_RUNS = {
    "latin": re.compile(rf"{_EAST}|{_WORDS}").finditer,
    "cyrillic": re.compile(rf"{_EAST}|[\u0590-\u06ff]{{2,}}|[\uac00-\ud7af]+").finditer,
    "hangul": re.compile(r"[\u0400-\u04ff]{2,}|[\u3400-\u9fff]{2,}").finditer,
    "arabic": re.compile(rf"{_EAST}|[\u0400-\u04ff]{{2,}}|[\uac00-\ud7af]+").finditer,
}
_OPENERS = "([{\"'\u201c\u201e\u2018\u00ab\u300c\u300e*_:=`/>\u2192|"
_CLOSERS = ")]}\"'\u201d\u2019\u00bb\u300d\u300f*_:=`/([|"
_ABOUT_WORDS = re.compile(
    r"translat|\bwords?\b|languag|\bmean|pronounc|spell|\bsay\b|alphabet|kanji|hanzi|charact|symbol|chinese|japanese"
    r"|korean"
    r"|russian|arabic|greek|hebrew|hindi|thai|überset|wort|sprache|russisch|chinesisch|japanisch|traduc|palabra|idioma"
    r"|mot\b|langue|tradui|parola|lingua|перев|слов|язык|китайск|японск|번역|단어|한자|翻译|翻訳|\bname"
).search
