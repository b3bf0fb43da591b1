"""What a refusal is about: the part of the form that it names, or a temperature that is too high for the server."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

from consistent_chat.errors import ServingError
from consistent_chat.request import Request
from consistent_chat.serving.http import LOOKED_AT, Fault, Peer


def blamed(fault: Fault, names: Mapping[str, str]) -> list[str]:
    """Return the names that occur in a refusal, in the order of occurrence. `names` has the pattern of each name.

    The order matters because some servers repeat the whole request in their message, after the reason.
    """
    text = f"{fault.param or ''} {fault.message[:LOOKED_AT]}"
    found = {name: re.search(pattern, text, re.IGNORECASE) for name, pattern in names.items()}
    return sorted((name for name in names if found[name]), key=lambda name: found[name].start())  # type: ignore[union-attr]


def warn_no_temperature(model: str, temperature: float, why: str) -> None:
    """Warn that the recipe's temperature has no effect on this model."""
    warnings.warn(
        f"The model {model!r} is called without the recipe's temperature of {temperature:g}: {why}. It samples at its "
        "default temperature; variety comes from the prompts. To set a temperature, choose a model that accepts one.",
        UserWarning,
        stacklevel=2,
    )


def check_scale(peer: Peer, request: Request, fault: Fault) -> None:
    """Raise ServingError if a refusal is about this temperature but not about every temperature.

    Such a refusal names a lower temperature or a range; the recipe must be changed.
    """
    message = fault.message[:LOOKED_AT]
    lower = any(0 < float(number) < request.temperature for number in _NUMBER.findall(message))
    if request.temperature > 0 and (lower or _SCALE.search(message)):
        raise ServingError(
            f"{peer.place} does not accept the temperature {request.temperature:g} for the model {request.model!r}. It "
            f"answered {fault.status}: {peer.quote(message)}. Set temperature= to a value that it accepts, or choose "
            "another model."
        )


_NUMBER = re.compile(r"(?<![\w.-])\d(?:\.\d+)?(?![\w-])(?!\.\d)")
"""A number below ten on its own, not part of a version, an address or a code."""


_SCALE = re.compile(
    r"temperature\W{1,4}(?:range|must be (?:between|in|less|at most|<)|input should be (?:less|greater) than)"
    r"|temperature.{0,40}?(?:between|\brange\b|at most|less than|<=|\[0)",
    re.IGNORECASE | re.DOTALL,
)
