"""Publishes datasets to the Hub with their recipes and responses, and verifies published datasets.

    REPO/README.md                         the card
    REPO/data/<split>-<i>-of-<n>.parquet   the rows
    REPO/failures/<split>.parquet          the unusable responses (config "failures")
    REPO/responses/                        a response store with the responses of the rows (config "responses")
    REPO/<name>.consistent_chat.yaml       the recipe, with its taxonomy
    REPO/plots/                            the card's images
    REPO/consistent_chat.json              the SHA-256 of every file but the card

The rows can be rebuilt from the recipe and the responses in the repo.

    publish.py the whole procedure: sends new files and deletes obsolete ones
    layout.py       paths in a dataset, and the manifest
    bundle.py       builds a folder with all files except the manifest; rebuilds its rows from the responses
    recipe_file.py  writes the recipe file of a published dataset
    hub.py          parses "user/repo" and "buckets/user/name/path"; state, access and errors of repos and buckets
    destinations.py writes to a repo or a bucket
    verify.py       compares files, responses and rows, and loads them; diff.py finds the first row that differs
    live.py         the progress section of the card during a build
    job.py          publishes from a machine of the Hub, and packs this package for it
"""

from consistent_chat.publishing.publish import publish
from consistent_chat.publishing.verify import is_dataset, verify

__all__ = ["is_dataset", "publish", "verify"]
