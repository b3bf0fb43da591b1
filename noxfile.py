"""The matrix: `nox` runs the tests on every supported `datasets` and Python that this machine has.

A Python that is missing is skipped, and said to be. `nox -l` lists the sessions.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["ways", "s3", "trainers", "dataflow", "ray"]

PYTHONS = ["3.10", "3.11", "3.13"]
DATASETS = {"newest 5": "datasets>=5,<6", "last 4": "datasets>=4,<5", "3.6": "datasets==3.6.*"}
WAYS = [
    "tests/builder",
    "tests/cli/test_command_line.py",
    "tests/commands/test_llamafactory.py",
    "tests/drivers/test_duplicates.py",
    "tests/drivers/test_run.py",
    "tests/drivers/test_shared_limits.py",
    "tests/plan/test_splits.py",
    "tests/store/test_hub_store.py",
    "tests/test_script.py",
]


@nox.session(python=PYTHONS)
@nox.parametrize("datasets", list(DATASETS.values()), ids=list(DATASETS))
def ways(session: nox.Session, datasets: str) -> None:
    """All that touches `datasets`, on one version of it."""
    session.install("-e", ".[test]", datasets)
    session.run("python", "-m", "pytest", "-n", "2", *WAYS, *session.posargs)


@nox.session(python="3.11")
def s3(session: nox.Session) -> None:
    """Keep responses in a bucket, against a local server."""
    _install_with_s3(session, "-e", ".[test,s3]")
    tests = ("tests/store/test_s3.py", "tests/store/test_s3_faults.py", "tests/drivers/test_batches_s3.py")
    session.run("python", "-m", "pytest", *tests, *session.posargs)


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
    versions = ("datasets==4.0.0", "numpy==1.26.*", "pandas==2.3.*", "pyarrow==20.*")
    imported = ("colorlog", "google-api-python-client", "google-cloud-aiplatform>=1.55", "librosa", "pillow", "rich")
    session.install("-e", ".[test]", *versions, *imported, "transformers")
    session.run("python", "-c", "import dataflow.serving")  # so that what is missing is an error, not a skipped test
    session.run("python", "-m", "pytest", "tests/dataflow", *session.posargs)


@nox.session(python="3.11")
def ray(session: nox.Session) -> None:
    """Fill a store with a cluster of two nodes on this machine, in a folder and in a bucket."""
    _install_with_s3(session, "-e", ".[test,s3,ray]")
    session.run("python", "-c", "import ray")  # so that what is missing is an error, not a skipped test
    session.run("python", "-m", "pytest", "tests/ray", *session.posargs)


def _install_with_s3(session: nox.Session, *packages: str) -> None:
    """Install s3fs and a local server for it, in two steps.

    s3fs takes only the few versions of botocore that aiobotocore was made for, moto and boto3 take the newest, and pip
    tries for many minutes what fits both. With botocore settled first, each step takes half a minute.
    """
    session.install(*packages)
    show = "import botocore; print(botocore.__version__)"
    botocore = str(session.run("python", "-c", show, silent=True)).strip()
    session.install("moto[server]", f"botocore=={botocore}", f"boto3=={botocore}")
