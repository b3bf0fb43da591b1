"""Runs the cells of examples/first_dataset.ipynb and records what they print: `python -m tools.notebook`.

Run it after a change of the notebook or of the demo; a test compares the recorded outputs with those of the present
code. Only prints are recorded, which needs no Jupyter.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent.parent / "examples" / "first_dataset.ipynb"


def run_cells(sources: list[str]) -> list[str]:
    """Run the texts of code cells one after the other in one namespace; return what each prints."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for number, source in enumerate(sources, 1):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(source, f"cell {number}", "exec"), names)
        printed.append(output.getvalue())
    return printed


def main() -> None:
    """Write the outputs into the notebook."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    printed = run_cells(["".join(cell["source"]) for cell in cells])
    for number, (cell, text) in enumerate(zip(cells, printed), 1):
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell.update(execution_count=number, outputs=[stream] if text else [])
    NOTEBOOK.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
