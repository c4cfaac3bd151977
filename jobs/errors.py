"""Everything that `jobs` raises on purpose.

JobError
├── JobNotFoundError     no such job, picture or worker
├── JobStateError        the job's state does not allow it
│   └── JobHeldError     another worker that is alive runs the job
├── IdempotencyError     the same key came with another order
├── FencedError          the job belongs to a later execution, or is over: stop, and write nothing more
└── DatabaseError        the database cannot be reached or refuses; says which one, never the password
    └── SchemaError      the tables are those of another version of this program
"""


class JobError(Exception):
    """Base of all errors of the ledger."""


class JobNotFoundError(JobError):
    """The ledger has no such job, picture or worker."""


class JobStateError(JobError):
    """The job is in a state that does not allow this."""


class JobHeldError(JobStateError):
    """Another worker runs this job and is alive; ask again later."""


class IdempotencyError(JobError):
    """An idempotency key was used before, for something else."""


class FencedError(JobError):
    """This execution of the job is not the one that counts any more."""


class DatabaseError(JobError):
    """The database cannot be reached, or refuses to work."""


class SchemaError(DatabaseError):
    """The tables in the database are not those that this program knows."""
