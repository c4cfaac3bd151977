"""Everything that `bundle` raises on purpose.

BundleError
├── ManifestError        manifest.json is missing, truncated, of an unknown schema or has unknown keys
├── DamagedBundleError   a file is missing, has other bytes than the manifest says, or disagrees with the golden outputs
├── NotFoundError        no such model, version or alias
│   └── NothingBeforeError   an alias has meant nothing before that it could be rolled back to
├── PublishError         what is to be published is incomplete or badly named
├── RecipeError          a recipe that cannot be used, key by key (in `bundle.recipes.errors`)
├── PriorError           parameters of a prior that make no sense
├── ReadOnlyStoreError   the store cannot be written to
└── LatentError          seeds, indices or codes that make no sense
"""


class BundleError(Exception):
    """Base of all errors of the bundle format."""


class ManifestError(BundleError):
    """The manifest cannot be read as this program's schema."""


class DamagedBundleError(BundleError):
    """A file of the bundle is not what the manifest says."""


class NotFoundError(BundleError):
    """The store has no such model, version or alias."""


class NothingBeforeError(NotFoundError):
    """There is no earlier version that an alias could be rolled back to."""


class PublishError(BundleError):
    """The bundle cannot be published as it is."""


class PriorError(BundleError, ValueError):
    """A prior's parameters make no sense."""


class LatentError(BundleError, ValueError):
    """A seed, an index or a latent code makes no sense."""


class ReadOnlyStoreError(BundleError):
    """The store cannot be written to: its file system is mounted read-only, or the process may not."""
