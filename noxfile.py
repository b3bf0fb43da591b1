"""The matrix: `nox` runs the tests on every supported `datasets` and Python that this machine has.

A Python that is missing is skipped, and said to be. `nox -l` lists the sessions.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.10", "3.11", "3.13"]
DATASETS = {"newest 5": "datasets>=5,<6", "last 4": "datasets>=4,<5", "3.6": "datasets==3.6.*"}
WAYS = ["tests/test_load.py", "tests/test_demo.py", "tests/test_command_line.py", "tests/test_script.py", "tests/test_run.py"]


@nox.session(python=PYTHONS)
@nox.parametrize("datasets", list(DATASETS.values()), ids=list(DATASETS))
def ways(session: nox.Session, datasets: str) -> None:
    """All that touches `datasets`, on one version of it."""
    session.install("-e", ".[test]", datasets)
    session.run("python", "-m", "pytest", "-n", "2", *WAYS, *session.posargs)
