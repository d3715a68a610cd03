"""The reference system: a prediction service on real parts, each behind a `Dependency`.

    python -m examples.inference_service              everything, on this machine
    python -m examples.inference_service.gameday      everything, and what happens when it breaks

Read `app.py` first (what is put together), then `predictions.py` (what it does), then one of `database.py`, `cache.py`,
`storage.py`, `provider.py` and `model.py`: each is one dependency, with what happens when it fails at its top.
`parts/` starts the real servers, `doubles/` are the two services of somebody else's, `gameday/` breaks them.
"""
