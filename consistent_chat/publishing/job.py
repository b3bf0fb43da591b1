"""Publishes from a machine of the Hub: starts a job that does the same as `builder.py`, with the recipe and secrets.

Responses are stored in a bucket, so that a stopped job can continue. The job gets this package as a wheel, so that it
runs the same code that checked the recipe. Nothing is installed by the package's name: the owner of that name on an
index would get the keys. The job's command, script and files are visible to all who can see the job, so they contain no
secrets.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi

from consistent_chat.builder import ConsistentChat
from consistent_chat.errors import MissingResponse, PublishError, RecipeError
from consistent_chat.publishing import recipe_file
from consistent_chat.publishing.bundle import recipe_names, select
from consistent_chat.publishing.hub import RepoTarget, open_api, translate_errors
from consistent_chat.publishing.publish import PublishOptions, check, name_of
from consistent_chat.recipe import FIELDS
from consistent_chat.serving import registry
from consistent_chat.serving.settings import checked_url
from consistent_chat.store.location import StoreLocation
from consistent_chat.store.pack import write_pack
from consistent_chat.store.record import Record
from consistent_chat.text.sanitize import is_secret, without_secrets
from consistent_chat.version import __version__

SCRIPT = """# /// script
# requires-python = ">=3.10"
# dependencies = {dependencies}
# ///
import sys
import tempfile
import zipfile
from pathlib import Path

if len(sys.argv) > 1 and sys.argv[1].endswith(".whl"):
    package = tempfile.mkdtemp()
    zipfile.ZipFile(sys.argv.pop(1)).extractall(package)
    sys.path.insert(0, package)

if __name__ == "__main__":
    from consistent_chat.cli import script

    raise SystemExit(script(sys.argv[1:]))
"""
"""Does what `builder.py` does, with the same package that has checked the recipe."""

IN_THE_RECIPE = frozenset(FIELDS)
ELSEWHERE = frozenset({"api_key", "responses"})
"""Options that are passed to the job as a secret, or in another form."""

_VARIABLE = re.compile(r"[A-Za-z_]\w{0,199}", re.ASCII)
SHORTEST_SECRET = 8
"""Length in characters from which a value is looked for in the command. A shorter one may occur in it by chance."""


def start(
    recipe: str | None,
    repo: str,
    *,
    flavor: str | None = None,
    job_timeout: str | None = None,
    package: str | None = None,
    secret: Sequence[str] = (),
    token: str | None = None,
    revision: str | None = None,
    private: bool = False,
    create_pr: bool = False,
    overwrite: bool = False,
    live: bool = False,
    licence: str | None = None,
    **options: Any,
) -> str:
    """Start a job that publishes a dataset, and return its address. Everything is checked first, as in `publish`.

    `flavor` is the Hub's name of a machine (None: the smallest, "cpu-basic"), `job_timeout` the limit of the job's
    time, such as "2h" (None: the Hub's own limit), `package` the address of the package to install (None: the job
    brings this package), and `secret` the names of environment variables that the job gets as secrets, in addition to
    those of the serving. Other arguments are as in `publish`. Raises RecipeError and PublishError.
    """
    how = PublishOptions(RepoTarget.parse(repo, revision), private, create_pr, overwrite, licence, live, token)
    return _start(recipe, how, Machine(flavor, job_timeout, package, secret), options)


class Machine(NamedTuple):
    """The machine of a job and what the job gets, as given by the arguments of `start`."""

    flavor: str | None
    timeout: str | None
    package: str | None
    secret: Sequence[str]


def _start(recipe: str | None, how: PublishOptions, machine: Machine, options: Mapping[str, Any]) -> str:
    if isinstance(options.get("serving"), Mapping):
        raise RecipeError(
            "A job can use only one serving, but these are given by role. Publish from this machine instead."
        )
    checked_url(options.get("base_url"))
    responses = _responses(how.target, options)
    destination = how.open_destination()
    builder = how.open_builder(recipe, options)
    _check_recipes(builder)
    dependencies = _dependencies(builder, machine.package, responses)
    check(destination, how.overwrite)
    api = open_api(how.target, how.token)
    secrets = {**_secrets(options, machine.secret), "HF_TOKEN": str(api.token)}
    arguments = _arguments({**_named(how, options), "responses": responses})
    _check_shown([*arguments, *dependencies], secrets)
    name = name_of(recipe, how.target)
    with translate_errors(how.target), _files(builder, name, dependencies, machine.package is None) as files:
        _copy_responses(api, builder, responses[0])
        return _run(api, [*files, *arguments], secrets=secrets, flavor=machine.flavor, timeout=machine.timeout)


def _named(how: PublishOptions, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the job's command, by name."""
    where = {"publish": str(how.target), "revision": how.target.revision, "private": how.private}
    terms = {"create_pr": how.create_pr, "overwrite": how.overwrite, "live": how.live, "licence": how.licence}
    return {**where, **terms, **{n: value for n, value in options.items() if n not in IN_THE_RECIPE | ELSEWHERE}}


def _check_recipes(builder: ConsistentChat) -> None:
    """Raise RecipeError for recipes that a job cannot build."""
    if len(builder.recipes) > 1:
        raise RecipeError("A job builds one split only. Publish from this machine, or pass a recipe without splits.")
    if any(recipe.seeds is not None for recipe in builder.recipes.values()):
        raise RecipeError("A job cannot use seeds. Leave out --on-hub to publish from this machine.")


def _run(api: HfApi, command: list[str], **options: Any) -> str:
    """Start a job that runs a script with its arguments, and return its address."""
    script, *arguments = command
    # The client prints the server's answer unchanged, and warns users that this interface may change.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental")
        job = api.run_uv_job(script, script_args=arguments, **options)
    return str(job.url)


@contextlib.contextmanager
def _files(builder: ConsistentChat, name: str, dependencies: list[str], with_wheel: bool) -> Iterator[list[str]]:
    """Yield the path of the script and its first arguments. The Hub's client sends the files that they name."""
    ((split, file),) = recipe_names(builder.recipes, name).items()
    with tempfile.TemporaryDirectory() as folder:
        script, recipe = Path(folder, "builder.py"), Path(folder, file)
        script.write_text(SCRIPT.format(dependencies=json.dumps(dependencies)), encoding="utf-8")
        recipe_file.write(builder.recipes[split], recipe)
        wheel = [str(write_wheel(Path(folder)))] if with_wheel else []
        yield [str(script), *wheel, "--recipe", str(recipe)]


def _dependencies(builder: ConsistentChat, package: str | None, responses: Sequence[str]) -> list[str]:
    """Return what the job installs: the requirements of this package, or the given package."""
    needed = {
        "openai": builder.config.serving == "openai",
        "quality": any(recipe.drop_near_duplicates for recipe in builder.recipes.values()),
        "s3": any(url.startswith(("s3://", "s3a://")) for url in responses),
    }
    extras = [name for name, is_needed in needed.items() if is_needed]
    if package is None:
        return requirements(extras)
    if "://" not in package or not package.isprintable():
        raise RecipeError(
            f"--package {package!r} is not an address, and a name on an index can belong to anyone. Leave it out "
            "to send this package, or give the address of a wheel or a repository: git+https://...@COMMIT."
        )
    named = f"[{','.join(extras)}]" if extras else ""
    return [package if " @ " in package else f"{NAME}{named} @ {package}"]


def _check_shown(shown: Sequence[str], secrets: Mapping[str, str]) -> None:
    """Raise RecipeError if the job's command or script, which others can see, would contain a secret."""
    keys = [value for name, value in secrets.items() if is_secret(name) and len(value) >= SHORTEST_SECRET]
    for text in shown:
        option = text.partition("=")[0] if text.startswith("--") else "--package"
        _check_address(option, text)
        if any(key in text for key in keys):
            raise RecipeError(
                f"{option} contains a key, which the job's command would show. Pass it with --secret NAME."
            )


def _check_address(option: str, text: str) -> None:
    if without_secrets(text) != text:
        raise RecipeError(
            f"{option} is an address with a user name, a password or a query (?...), which the job's command would "
            "show. Leave them out, set them as environment variables, and pass these with --secret NAME."
        )


def _responses(target: RepoTarget, options: Mapping[str, Any]) -> list[str]:
    """Return the response stores of the job; by default a bucket named after the repo."""
    given = options.get("responses") or f"hf://buckets/{target.name}-responses"
    places = [given] if isinstance(given, str) else [str(place) for place in given]
    for place in places:
        _check_address("--responses", place)
        if "://" not in place or place.startswith(("file://", "local://", "memory://")):
            raise RecipeError(f"--responses {place} is on this machine, which a job cannot read. Pass a bucket's URL.")
    if options.get("storage_options"):
        raise RecipeError(
            "--storage-options are not passed on to a job. Set environment variables, such as AWS_SECRET_ACCESS_KEY, "
            "and pass them with --secret NAME."
        )
    return places


def _copy_responses(api: HfApi, builder: ConsistentChat, responses: str) -> None:
    """Copy the responses recorded here into the job's store, so that they are not paid for again."""
    if not hasattr(api, "create_bucket"):
        raise PublishError(
            'This huggingface_hub cannot pass files to a job. Run `pip install -U "huggingface_hub>=2"`.'
        )
    if responses.startswith("hf://buckets/"):
        api.create_bucket(RepoTarget.parse(responses).name, private=True, exist_ok=True)
    place = StoreLocation(responses, {"hf": {"token": api.token}})
    place.prepare()
    pack = write_pack(_recorded(builder), place.staging)
    if pack is not None:
        place.send(pack)


def _recorded(builder: ConsistentChat) -> Iterator[Record]:
    """Yield the recorded responses. Raises MissingResponse if some are missing and the job makes no calls."""
    with contextlib.suppress(*([] if builder.config.serving is None else [MissingResponse])):
        yield from select(builder.recipes, builder.recorded())


def _secrets(options: Mapping[str, Any], more: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of the serving. Raises PublishError if its key is not set."""
    serving = options.get("serving")
    if not isinstance(serving, (str, type(None))):
        raise RecipeError("A job needs the name of a serving, not an object. Pass its name.")
    if not all(_VARIABLE.fullmatch(name) for name in more):
        raise RecipeError("--secret must be the name of an environment variable, such as MY_KEY, not its value.")
    names = registry.variables(serving or "")
    found = {name: os.environ[name] for name in (*names, *more) if os.environ.get(name)}
    if options.get("api_key"):
        if not names:
            raise RecipeError(
                f"--api-key cannot be passed on for {serving!r}. Set its variable, and pass --secret NAME."
            )
        found[names[0]] = options["api_key"]
    missing = [name for name in more if name not in found]
    keys = [name for name in names if name != "HF_TOKEN" and not name.endswith("_BASE_URL")]
    if keys and not found.keys() & set(names) and not options.get("base_url"):
        missing.append(keys[0])
    if missing:
        raise PublishError(
            f"The job needs {', '.join(missing)}, which is not set on this machine. Set it here, so that it is passed "
            f"to the job."
        )
    return found


def _arguments(options: Mapping[str, Any]) -> list[str]:
    """Return options as `--name=value`: a separate value could be mistaken for a file's name."""
    arguments: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments += [f"{option}={each}" for each in (value if isinstance(value, list) else [value])]
    return arguments


NAME = "consistent_chat"
FOLDER = Path(__file__).parents[1]
_INFO = f"{NAME}-{__version__}.dist-info"
_WHEEL = "Wheel-Version: 1.0\nGenerator: consistent_chat\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([\w.-]+)['"]""")
_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date of a ZIP file, so that the same files always give the same bytes."""


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
