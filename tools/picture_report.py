"""Takes the picture of docs/report.md: `python -m tools.picture_report`, where there is a Chromium."""

from __future__ import annotations

import tempfile
from pathlib import Path

from consistent_chat.reports import report
from tests.browser import Window, chromium

PICTURE = Path(__file__).parent.parent / "docs" / "report.png"


def main() -> None:
    """Open the demo's report at its second dialogue, and write the picture."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder, "demo.html")
        report("demo", html=str(path))
        window = Window(browser, path, "#d1", viewport={"width": 1100, "height": 760}, reduced_motion="reduce")
        window.shows(window.listed()[1])
        window.page.evaluate(
            "document.activeElement.blur(); document.getElementById('dialogues-title').scrollIntoView()"
        )
        window.page.screenshot(path=str(PICTURE))
        window.close()


if __name__ == "__main__":
    main()
