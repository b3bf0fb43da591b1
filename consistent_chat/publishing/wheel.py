"""A wheel of the running package, and its requirements: a Hub job runs the same code that checked the recipe.

Nothing is installed by the package's own name, since the owner of that name on an index would get the keys.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Collection, Iterator
from importlib import metadata
from pathlib import Path

from consistent_chat.errors import PublishError
from consistent_chat.version import __version__

NAME = "consistent_chat"
FOLDER = Path(__file__).parents[1]
_INFO = f"{NAME}-{__version__}.dist-info"
_WHEEL = "Wheel-Version: 1.0\nGenerator: consistent_chat\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([\w.-]+)['"]""")
_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date of a ZIP file: the same files give the same bytes on any day."""


def write_wheel(folder: Path) -> Path:
    """Write the installed package into a folder, as a wheel, and return its path; raises PublishError."""
    files = {f"{NAME}/{path}": (FOLDER / path).read_bytes() for path in _source_files()}
    files |= {f"{_INFO}/METADATA": _metadata().encode("utf-8"), f"{_INFO}/WHEEL": _WHEEL.encode("ascii")}
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    files[f"{_INFO}/RECORD"] = f"{record}{_INFO}/RECORD,,\n".encode()
    wheel = folder / f"{NAME}-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, _DATE), content, zipfile.ZIP_DEFLATED)
    return wheel


def requirements(extras: Collection[str]) -> list[str]:
    """Return the requirements of the installed package, with those of some extras, in the format of PEP 508.

    Raises PublishError.
    """
    found = []
    for line in _distribution().requires or ():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        extra = _EXTRA.search(marker)
        if extra is None:
            found.append(line)
        elif extra[1] in extras:
            found.append(requirement)
    return found


def _distribution() -> metadata.Distribution:
    try:
        return metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        raise PublishError(
            f"{FOLDER} is not installed, so its requirements are unknown. Run `pip install .` in its source."
        ) from None


def _metadata() -> str:
    distribution = _distribution()
    return distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""


def _source_files() -> Iterator[str]:
    """Yield the files of the package, without hidden files, links and compiled ones."""
    for path in sorted(FOLDER.rglob("*")):
        inside = path.relative_to(FOLDER)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not path.is_symlink() and not hidden and path.suffix != ".pyc":
            yield inside.as_posix()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")
