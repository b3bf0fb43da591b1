"""Templates: their results, and the limits for a stranger's template."""

from __future__ import annotations

import pytest

from consistent_chat.errors import RecipeError
from consistent_chat.recipe import template

VALUES = {"name": "Ada {{ Lovelace }}", "tier": "", "tags": "a, b"}
RENDERED = {
    "plain {text} $name %(name)s": "plain {text} $name %(name)s",
    "Hi {{ name }}.\n": "Hi Ada {{ Lovelace }}.",
    "{% if tier == 'paid' %}VIP{% elif tier in ('free', '') %}{{ tier|default('none') }}{% endif %}": "none",
    "{% for tag in tags.split(', ') %}{{ loop.index }}{{ tag|upper }}{{ ';' if not loop.last }}{% endfor %}": "1A;2B",
    "{{ 'a' ~ 1 ~ name[:3] }} {{ ('7'|int + 1) % 5 }} {{ '-' * 3 }}": "a1Ada 3 ---",
    "{% set first = name.split(' ')[0] %}{{ first.lower() }} {# a note #}{{ range(3)|join('/') }}": "ada 0/1/2",
    "{% raw %}{{ name }}{% endraw %} {{ '{{' }}": "{{ name }} {{",
}
REFUSED = {
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "unsupported",
    "{{ name['__class__'] }}": "unsafe",
    "{{ name|attr('__class__') }}": "no filter 'attr'",
    "{% for i in range(1000000000) %}x{% endfor %}": "range has more than 10,000",
    "{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}": "more than 10,000 rounds",
    "{{ 1000000000 * 'x' }}": "a repetition becomes longer",
    "{{ 9 ** 9 ** 9 }}": "uses Pow",
    "{% set a = 'xxxx' %}" + "{% set a = a ~ a %}" * 40: "longer than 200,000",
    "{{ name * 10000 }}": "longer than",
    "{{ 'x' * 30000 }}": "longer than 20,000 characters",
    "{% for i in range(9000) %}" + "{{ (name * 9999)|length }}" * 9 + "{% endfor %}": "too much work",
    "{{ '%1000000000d' % 1 }}": "accepts only numbers",
    "{{ '{:1000000000}'.format(1) }}": "calls an unsupported function",
    "{{ name|replace('', name * 9999) }}": "longer than",
    "{% include 'x' %}": "uses Include",
    "{% macro a() %}{% endmacro %}": "uses Macro",
    "{{ [name] }}": "is not text",
    "{{ name.upper }}": "unsupported attribute",
    "{{ other }}": "'other' is undefined",
    "{{ name": "line 1: unexpected end",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": "simpler template",
    "{{ " + "9" * 5000 + " }}": "simpler template",
    "{{ 1 / 0 }}": "division by zero",
}


@pytest.mark.parametrize(("text", "expected"), RENDERED.items())
def test_a_template_is_rendered(text: str, expected: str) -> None:
    """A template gives the expected text. Template syntax in values is not rendered."""
    assert template.render("system_prompt", text, VALUES) == expected


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:30] for text in REFUSED])
def test_a_template_keeps_to_its_bounds(text: str, message: str) -> None:
    """A template outside the limits raises an error that names the field."""
    with pytest.raises(RecipeError, match=r"^system_prompt ") as raised:
        template.render("system_prompt", text, VALUES)
    assert message in str(raised.value)


def test_names_are_those_that_values_must_have() -> None:
    """`names` returns the columns that a template needs, without its own variables and functions."""
    text = "{% set a = name %}{{ a }}{% for b in range(3) %}{{ b ~ loop.index ~ tier }}{% endfor %}"
    assert template.names("system_prompt", text) == ("name", "tier")
    assert template.names("system_prompt", "name") == ()
