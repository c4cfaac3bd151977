"""The worker: takes training jobs, runs each in a child process, publishes, and takes over from workers that died.

`service` (this process) knows DBOS and the ledger and never imports torch; `child` knows torch and neither of the two.
They talk in lines of JSON (`protocol`). How it all holds together stands in `docs/jobs.md`.
"""
