"""Writing systems as ranges of Unicode, to stand between the brackets of a regular expression.

They are written down here, not taken from `unicodedata`, so that the same text is read alike by every Python.
"""

SOUTHEAST_ASIAN = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Tibetan, Myanmar, Khmer. They separate sentences by a space or by marks of their own."""
KANA = "\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\uff66-\uff9f"
"""Hiragana, katakana (also of half width) and bopomofo, with the signs that repeat a character."""
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SPACELESS = SOUTHEAST_ASIAN + KANA + HAN
"""Scripts without spaces between words: each of their letters counts as a word."""
EAST_ASIAN = "\u3040-\u9fff\uac00-\ud7af"
"""Kana, Han and Hangul with the symbols between them: a letter says about as much as three of an alphabet."""
