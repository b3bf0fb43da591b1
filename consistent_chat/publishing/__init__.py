"""Datasets on the Hub: put there with all that they are made of, and proven to be what they say.

    REPO/README.md                         the card
    REPO/data/<split>-<i>-of-<n>.parquet   the rows
    REPO/failures/<split>.parquet          the answers that were of no use (config "failures")
    REPO/responses/                        a response store with what the rows are made of (config "responses")
    REPO/<name>.consistent_chat.yaml       the recipe, with its taxonomy
    REPO/plots/                            the card's images
    REPO/consistent_chat.json              the SHA-256 of every file but the card

The rows follow from the recipe and the responses beside it, here and there.

    publish.py      all of it, in order
    target.py       what is meant by "user/repo" and "buckets/user/name/path"
    layout.py       paths in a dataset, and the manifest
    bundle.py       a folder with all files but card and manifest
    rebuild.py      the rows and failures, from a folder's recipe and responses alone
    upload.py       sends what is new, removes what is gone; hub.py, repo.py and bucket.py talk to the Hub
    verify.py       compares files, responses and rows; diff.py finds the first row that differs
    resolution.py   what a plain `load_dataset` takes, held to what was published
    live.py         the card during a build, and the configs in it
    job.py          the same on the Hub's own machines
"""

from consistent_chat.publishing.publish import publish
from consistent_chat.publishing.verify import is_dataset, verify

__all__ = ["is_dataset", "publish", "verify"]
