"""Publishes datasets to the Hub with their recipes and responses, and verifies published datasets.

    REPO/README.md                         the card
    REPO/data/<split>-<i>-of-<n>.parquet   the rows
    REPO/failures/<split>.parquet          the unusable responses (config "failures")
    REPO/responses/                        a response store with the responses of the rows (config "responses")
    REPO/<name>.consistent_chat.yaml       the recipe, with its taxonomy
    REPO/plots/                            the card's images
    REPO/consistent_chat.json              the SHA-256 of every file but the card

The rows can be rebuilt from the recipe and the responses in the repo.

    publish.py      the whole procedure
    target.py       parses "user/repo" and "buckets/user/name/path"
    layout.py       paths in a dataset, and the manifest
    bundle.py       builds a folder with all files except card and manifest
    recipe_file.py  writes the recipe file of a published dataset
    rebuild.py      builds the rows and failures from the recipes and responses of a folder
    upload.py       sends new files and deletes removed ones; hub.py, repo.py and bucket.py talk to the Hub
    verify.py       compares files, responses and rows; diff.py finds the first row that differs
    resolution.py   checks that a plain `load_dataset` loads the published files
    live.py         the card: its progress section during a build, and its configs
    job.py          publishes from a machine of the Hub; wheel.py packs this package for it
"""

from consistent_chat.publishing.publish import publish
from consistent_chat.publishing.verify import is_dataset, verify

__all__ = ["is_dataset", "publish", "verify"]
